"""A source's files: which are missing, which cannot be fetched, and what is told."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from episodes import download, places
from episodes.cli import main
from episodes.download import Retries
from episodes.errors import EpisodesError, UsageError
from episodes.manifest import Source, SourceFile
from tests.episodes.servers import Server, serving

QUICK = Retries(attempts=3, first_wait=0.001)
SITE = "https://image-net.org/challenges/LSVRC/2012/2012-downloads.php"
TRAIN = SourceFile("ILSVRC2012_img_train.tar", "login", (SITE,), bytes=147_897_477_120)
IMAGENET = Source(
    "archive",
    "imagenet",
    (TRAIN,),
    instructions=f"sign in at {SITE}, accept the terms, download it.",
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    originals = tmp_path / "originals"
    originals.mkdir()
    for name in ("images.txt", "labels.txt"):
        (originals / name).write_text(f"{name} as it should be")
    with serving(originals) as server:
        yield server


@pytest.fixture
def source(server: Server) -> Source:
    files = (
        SourceFile(name, "open", (server.address(name),), bytes=len(hosted.content))
        for name, hosted in server.files.items()
    )
    return Source("archive", "pairs", tuple(files))


def told(source: Source, folder: Path, **options: bool) -> str:
    with pytest.raises(UsageError) as caught:
        download.fetch_source("imagenet", source, folder, retries=QUICK, **options)
    assert "\n" not in str(caught.value)
    assert not list(folder.glob("*.part*"))
    return str(caught.value)


def test_what_is_missing_is_fetched(server: Server, source: Source, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("labels.txt as it should be")
    server.files["images.txt"].script = ["cut 3", "status 503"]
    seen: list[tuple[object, ...]] = []
    download.fetch_source("pairs", source, tmp_path, lambda *told: seen.append(told), QUICK)
    assert (tmp_path / "images.txt").read_text() == "images.txt as it should be"
    assert server.files["labels.txt"].requests == []
    assert seen[-1] == ("fetching images.txt", 26, 26, "bytes")
    assert download.missing(source, tmp_path) == ()


def test_an_extracted_folder_stands_for_its_archive(
    server: Server, source: Source, tmp_path: Path
) -> None:
    images, labels = source.files
    unpacked = replace(source, files=(replace(images, extracted="images"), labels))
    assert download.missing(unpacked, tmp_path) == unpacked.files
    (tmp_path / "images").mkdir()
    download.fetch_source("pairs", unpacked, tmp_path, retries=QUICK)
    assert server.files["images.txt"].requests == []
    assert (tmp_path / "labels.txt").is_file()


def test_a_file_of_another_size_is_fetched_again(
    server: Server, source: Source, tmp_path: Path
) -> None:
    (tmp_path / "images.txt").write_text("cut short")
    download.fetch_source("pairs", source, tmp_path, retries=QUICK)
    assert (tmp_path / "images.txt").read_text() == "images.txt as it should be"


def test_where_to_get_what_needs_an_account_is_told(tmp_path: Path) -> None:
    assert told(IMAGENET, tmp_path / "downloads") == (
        "imagenet needs ILSVRC2012_img_train.tar (147.9 GB), which cannot be fetched without an "
        f"account: sign in at {SITE}, accept the terms, download it, "
        "then type: episodes prepare imagenet --from FOLDER"
    )
    assert not (tmp_path / "downloads").exists()


def test_nothing_is_fetched_when_one_of_the_files_needs_an_account(
    server: Server, source: Source, tmp_path: Path
) -> None:
    devkit = SourceFile("devkit.tgz", "manual", ("https://image-net.org/terms",))
    mixed = replace(source, files=(*source.files, TRAIN, devkit))
    message = told(mixed, tmp_path)
    images, labels = (server.address(name) for name in server.files)
    assert message == (
        "imagenet needs ILSVRC2012_img_train.tar (147.9 GB) and devkit.tgz, which cannot be "
        f"fetched without an account, and images.txt (26 bytes, {images}) and "
        f"labels.txt (26 bytes, {labels}): "
        f"download them (from {SITE}, https://image-net.org/terms), "
        "then type: episodes prepare imagenet --from FOLDER"
    )
    assert all(hosted.requests == [] for hosted in server.files.values())


def test_a_download_by_hand_that_was_cut_is_told(tmp_path: Path) -> None:
    (tmp_path / TRAIN.name).write_bytes(b"?" * 1500)
    assert f"(147.9 GB, {tmp_path / TRAIN.name} has 1.5 kB), which" in told(IMAGENET, tmp_path)


def test_offline_says_what_is_missing_where_and_what_to_type(
    server: Server, source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "labels.txt").write_text("labels.txt as it should be")
    url = server.address("images.txt")
    expected = (
        f"imagenet needs images.txt (26 bytes, {url}): put what is missing into {tmp_path}, "
        "or type: episodes prepare imagenet --from FOLDER"
    )
    assert told(source, tmp_path, offline=True) == f"offline, and {expected}"
    monkeypatch.setenv("EPISODES_OFFLINE", "1")
    assert told(source, tmp_path) == f"offline (EPISODES_OFFLINE), and {expected}"
    assert server.files["images.txt"].requests == []
    (tmp_path / "images.txt").write_text("images.txt as it should be")
    download.fetch_source("imagenet", source, tmp_path)


def test_a_dead_mirror_ends_with_the_command_to_type(
    server: Server, source: Source, tmp_path: Path
) -> None:
    server.files["images.txt"].script = ["status 404"]
    with pytest.raises(EpisodesError, match="episodes prepare pairs --from FOLDER$") as caught:
        download.fetch_source("pairs", source, tmp_path, retries=QUICK)
    assert "answered 404" in str(caught.value)
    assert caught.value.exit_code == 1


def test_the_option_offline_asks_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EPISODES_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("EPISODES_OFFLINE", raising=False)
    monkeypatch.setenv("no_proxy", "")
    url = "http://vision.stanford.edu/aditya86/ImageNetDogs/images.tar"
    with serving() as server:
        monkeypatch.setenv("http_proxy", server.url)
        offline = CliRunner().invoke(main, ["prepare", "dogs", "--offline"])
        assert server.proxied == []
        assert CliRunner().invoke(main, ["prepare", "dogs"]).exit_code == 1
        assert server.proxied == [url]
    assert (offline.exit_code, offline.stdout) == (2, "")
    downloads = tmp_path / "home" / "downloads" / "dogs"
    assert offline.stderr == (
        f"error: offline, and dogs needs images.tar (793.6 MB, {url}): put what is missing into "
        f"{downloads}, or type: episodes prepare dogs --from FOLDER\n"
    )


def test_where_files_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("EPISODES_HOME", "~/mine")
    assert places.downloads() == tmp_path / "mine" / "downloads"
    monkeypatch.setenv("EPISODES_HOME", "")
    assert places.home() == tmp_path / "xdg" / "episodes"
    monkeypatch.delenv("EPISODES_HOME")
    assert places.home() == tmp_path / "xdg" / "episodes"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert places.home() == tmp_path / ".cache" / "episodes"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert places.stores() == tmp_path / ".cache" / "episodes" / "stores"
