"""Files of which the manifest does not know everything: size, checksums, or none of them."""

import bz2
import gzip
import hashlib
import io
import lzma
import pickle
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from episodes import download
from episodes.download import Retries
from episodes.errors import EpisodesError
from episodes.manifest import SourceFile
from tests.episodes.servers import Hosted, Server, serving

QUICK = Retries(attempts=3, first_wait=0.001)
NOISE = bytes(index * index * 7 % 251 for index in range(200_000))


def zipped(content: bytes = NOISE) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("noise", content)
    return buffer.getvalue()


def tarred(content: bytes = NOISE, how: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=how) as archive:
        entry = tarfile.TarInfo("noise")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


CONTENT = zipped()


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        server.files["data.zip"] = Hosted(CONTENT)
        yield server


@pytest.fixture
def hosted(server: Server) -> Hosted:
    return server.files["data.zip"]


@pytest.fixture
def file(server: Server) -> SourceFile:
    """A zip of which nothing is known."""
    return SourceFile("data.zip", "open", (server.address("data.zip"),))


def fetched(file: SourceFile, folder: Path) -> bytes:
    path = download.fetch(file, folder, retries=QUICK)
    visible = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
    assert visible == [file.name]
    return path.read_bytes()


def known(file: SourceFile, *names: str) -> SourceFile:
    facts = {
        "bytes": len(CONTENT),
        "sha256": hashlib.sha256(CONTENT).hexdigest(),
        "md5": hashlib.md5(CONTENT).hexdigest(),
    }
    return replace(file, **{name: facts[name] for name in names})


@pytest.mark.parametrize("names", [(), ("bytes",), ("md5",), ("sha256",), ("bytes", "md5")])
@pytest.mark.parametrize("length", ["told", "chunked"])
def test_disconnections_cost_no_byte_twice(
    hosted: Hosted, file: SourceFile, tmp_path: Path, names: tuple[str, ...], length: str
) -> None:
    hosted.length = length
    # What an unfinished piece of a chunked answer held is not kept: the cuts are where pieces end.
    hosted.script = ["cut 65536", "hang-up", "cut 65536"]
    told: list[tuple] = []
    download.fetch(known(file, *names), tmp_path, lambda *progress: told.append(progress), QUICK)
    assert (tmp_path / "data.zip").read_bytes() == CONTENT
    assert hosted.sent == len(CONTENT)
    assert hosted.requests == [None, "bytes=65536-", "bytes=65536-", "bytes=131072-"]
    totals = {total for _, _, total, *unit in told if unit == ["bytes"]}
    assert totals == {len(CONTENT) if length == "told" or "bytes" in names else 0}
    assert [wait for wait in told if len(wait) == 3] == [
        ("asking again for data.zip", attempt, 3) for attempt in (1, 2, 1)
    ]


@pytest.mark.parametrize("names", [("sha256",), ("md5",), ("md5", "bytes"), ("md5", "sha256")])
def test_each_checksum_that_is_known_must_fit(
    hosted: Hosted, file: SourceFile, tmp_path: Path, names: tuple[str, ...]
) -> None:
    hosted.content = zipped(NOISE[::-1])
    with pytest.raises(EpisodesError, match="data.zip: sent another file: 200,.* bytes with "):
        download.fetch(known(file, *names), tmp_path, retries=QUICK)
    assert not (tmp_path / "data.zip").exists()


def test_one_of_two_checksums_is_not_enough(
    hosted: Hosted, file: SourceFile, tmp_path: Path
) -> None:
    wrong = replace(known(file, "sha256", "md5"), md5="0" * 32)
    with pytest.raises(EpisodesError, match="MD5 .*; expected SHA-256 .* and MD5 000000000000…"):
        download.fetch(wrong, tmp_path, retries=QUICK)


@pytest.mark.parametrize(
    "name, content",
    [
        ("a.zip", CONTENT),
        ("a.zip", zipped()[-22:]),
        ("a.tar", tarred()),
        ("a.tar.gz", tarred(how="w:gz")),
        ("a.tgz", tarred(how="w:gz")),
        ("a.gz", gzip.compress(NOISE, mtime=0)),
        ("a.tar.xz", lzma.compress(tarred())),
        ("a.TAR.BZ2", bz2.compress(tarred())),
        ("a.pkl", pickle.dumps([1], protocol=2)),
        ("a.pickle", pickle.dumps([1], protocol=5)),
        ("words.txt", b"n00001740 entity\n"),
    ],
)
def test_without_any_checksum_the_kind_of_file_must_fit_its_name(
    server: Server, file: SourceFile, tmp_path: Path, name: str, content: bytes
) -> None:
    unknown = replace(file, name=name)
    server.files["data.zip"].content = content
    assert fetched(unknown, tmp_path / "right") == content
    other = CONTENT if "zip" not in name else tarred()
    server.files["data.zip"].content = other
    if name.endswith(".txt"):
        assert fetched(unknown, tmp_path / "other") == other
    else:
        with pytest.raises(EpisodesError, match="sent another file: .* expected a [a-z0-9]+"):
            download.fetch(unknown, tmp_path / "other", retries=QUICK)


@pytest.mark.parametrize("name", ["a.zip", "words.txt", "a"])
@pytest.mark.parametrize("act", ["page", "unlabelled-page"])
def test_a_page_is_never_the_file(
    hosted: Hosted, file: SourceFile, tmp_path: Path, name: str, act: str
) -> None:
    hosted.script = [act]
    with pytest.raises(EpisodesError, match="sent a web page"):
        download.fetch(replace(file, name=name), tmp_path, retries=QUICK)
    assert [path for path in tmp_path.iterdir() if not path.name.startswith(".")] == []


def test_an_empty_answer_is_never_the_file(
    hosted: Hosted, file: SourceFile, tmp_path: Path
) -> None:
    hosted.content = b""
    with pytest.raises(EpisodesError, match="sent another file: 0 bytes"):
        download.fetch(replace(file, name="words.txt"), tmp_path, retries=QUICK)


def test_a_length_that_is_too_long_is_an_interruption(
    hosted: Hosted, file: SourceFile, tmp_path: Path
) -> None:
    hosted.script = ["longer 100", "status 503"]
    assert fetched(file, tmp_path) == CONTENT
    hosted.script = ["longer 100"] * 20
    expected = f"ended after {len(CONTENT):,} of {len(CONTENT) + 100:,} bytes, 3 times"
    with pytest.raises(EpisodesError, match=expected):
        download.fetch(file, tmp_path / "other", retries=QUICK)
    assert len(hosted.requests) < 9


def test_halves_of_two_files_are_not_joined(
    hosted: Hosted, file: SourceFile, tmp_path: Path
) -> None:
    hosted.script = ["another 90000"]
    assert fetched(file, tmp_path) == CONTENT
    assert hosted.requests == [None, "bytes=90000-"]
    assert hosted.sent == 90_000 + len(CONTENT)


def test_nothing_is_joined_where_nothing_could_tell(
    hosted: Hosted, file: SourceFile, tmp_path: Path
) -> None:
    hosted.etag = None
    hosted.script = ["another 90000"]
    assert fetched(file, tmp_path) == CONTENT
    assert hosted.requests == [None, None]


def test_nothing_is_joined_across_mirrors_without_a_checksum(
    server: Server, file: SourceFile, tmp_path: Path
) -> None:
    server.files["first"] = Hosted(b"?" * 500_000, script=["cut 100000", "status 404"])
    two = replace(file, urls=(server.address("first"), *file.urls))
    assert fetched(two, tmp_path) == CONTENT
    assert server.files["data.zip"].requests == [None]


def test_another_size_at_each_attempt_is_another_file(
    hosted: Hosted, file: SourceFile, tmp_path: Path
) -> None:
    sized = known(file, "sha256")
    hosted.etag = None
    hosted.script = ["longer 100"]
    hosted.content = CONTENT + b"?"
    with pytest.raises(EpisodesError, match="sent another file"):
        download.fetch(sized, tmp_path, retries=QUICK)
    hosted.script = ["cut 90000"]
    with pytest.raises(EpisodesError, match="sent another file"):
        download.fetch(sized, tmp_path, retries=QUICK)
    hosted.content = CONTENT
    assert fetched(sized, tmp_path) == CONTENT


def test_a_file_that_grew_is_begun_again(hosted: Hosted, file: SourceFile, tmp_path: Path) -> None:
    hosted.script = ["cut 90000", "hang-up", "hang-up", "hang-up"]
    with pytest.raises(EpisodesError, match="no mirror has data.zip"):
        download.fetch(file, tmp_path, retries=QUICK)
    hosted.content = zipped(NOISE[::-1] + b"more")
    assert fetched(file, tmp_path) == hosted.content
    assert hosted.requests[-2:] == ["bytes=90000-", None]


def test_without_any_length_a_checksum_must_be_known(
    hosted: Hosted, file: SourceFile, tmp_path: Path
) -> None:
    hosted.length = "untold"
    with pytest.raises(EpisodesError, match="does not tell how long the file is"):
        download.fetch(file, tmp_path, retries=QUICK)
    hosted.script = ["cut 90000"]
    assert fetched(known(file, "bytes"), tmp_path / "size") == CONTENT
    assert fetched(known(file, "md5"), tmp_path / "md5") == CONTENT


def test_all_that_came_before_a_crash_is_checked_and_kept(
    hosted: Hosted, file: SourceFile, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        download.fetch(file, tmp_path, interrupt_at(len(CONTENT)), QUICK)
    assert (tmp_path / "data.zip.part").read_bytes() == CONTENT
    assert not (tmp_path / "data.zip").exists()
    assert fetched(file, tmp_path) == CONTENT
    assert hosted.requests == [None]


def interrupt_at(bytes_done: int) -> download.Progress:
    def progress(what: str, done: int, total: int, unit: str = "") -> None:
        if done == bytes_done:
            raise KeyboardInterrupt

    return progress


def test_a_file_of_unknown_size_is_there_by_its_name(
    hosted: Hosted, file: SourceFile, tmp_path: Path
) -> None:
    (tmp_path / "data.zip").write_bytes(b"from elsewhere")
    assert fetched(file, tmp_path) == b"from elsewhere"
    assert hosted.requests == []
