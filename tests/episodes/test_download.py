"""Downloads against a local server that misbehaves in the ways that real ones do."""

import hashlib
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.error import URLError

import pytest

from episodes import download
from episodes.download import Retries
from episodes.download.faults import Interrupted, fault_of
from episodes.errors import EpisodesError, UsageError
from episodes.manifest import SourceFile
from tests.episodes.servers import Hosted, Server, serving

CONTENT = bytes(index * index % 251 for index in range(300_000))
QUICK = Retries(attempts=3, first_wait=0.001)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        server.files = {f"{mirror}/data.zip": Hosted(CONTENT) for mirror in ("one", "two")}
        yield server


@pytest.fixture
def mirrors(server: Server) -> list[Hosted]:
    """Two mirrors of the same file."""
    return list(server.files.values())


@pytest.fixture
def file(server: Server) -> SourceFile:
    return SourceFile(
        name="data.zip",
        access="open",
        urls=tuple(map(server.address, server.files)),
        bytes=len(CONTENT),
        sha256=hashlib.sha256(CONTENT).hexdigest(),
    )


def fetched(file: SourceFile, folder: Path) -> bytes:
    path = download.fetch(file, folder, retries=QUICK)
    assert path == folder / "data.zip"
    visible = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    assert visible == {"data.zip"}
    return path.read_bytes()


def test_a_file_is_fetched_once(mirrors: list[Hosted], file: SourceFile, tmp_path: Path) -> None:
    told: list[tuple[object, ...]] = []
    download.fetch(file, tmp_path, lambda *progress: told.append(progress), QUICK)
    assert told[-1] == ("fetching data.zip", len(CONTENT), len(CONTENT), "bytes")
    assert fetched(file, tmp_path) == CONTENT
    assert mirrors[0].requests == [None]
    assert mirrors[1].requests == []


@pytest.mark.parametrize("etag", ['"1"', None])
def test_three_disconnections_cost_no_byte_twice(
    mirrors: list[Hosted], file: SourceFile, tmp_path: Path, etag: str | None
) -> None:
    mirrors[0].etag = etag
    mirrors[0].script = ["cut 100000", "hang-up", "cut 70000", "cut 1"]
    assert fetched(file, tmp_path) == CONTENT
    assert mirrors[0].sent == len(CONTENT)
    assert mirrors[0].requests[-1] == "bytes=170001-"


def test_a_later_call_goes_on_where_an_earlier_one_broke_off(
    mirrors: list[Hosted], file: SourceFile, tmp_path: Path
) -> None:
    alone = replace(file, urls=file.urls[:1])
    mirrors[0].script = ["cut 120000", "hang-up", "hang-up", "hang-up"]
    with pytest.raises(EpisodesError, match="no mirror has data.zip"):
        download.fetch(alone, tmp_path, retries=QUICK)
    assert not (tmp_path / "data.zip").exists()
    assert fetched(alone, tmp_path) == CONTENT
    assert mirrors[0].requests[-1] == "bytes=120000-"


@pytest.mark.parametrize(
    "script",
    [
        ["status 503", "status 500"],
        ["status 429", "retry-after 0"],
        ["redirect"],
        ["cut 0", "cut 0"],
        ["throttle 9000"],
        ["cut 150000", "other-range"],
        ["cut 150000", "no-ranges"],
    ],
)
def test_passing_faults_are_tried_again(
    mirrors: list[Hosted], file: SourceFile, tmp_path: Path, script: list[str]
) -> None:
    mirrors[0].script = script
    assert fetched(file, tmp_path) == CONTENT
    assert mirrors[1].requests == []


@pytest.mark.parametrize(
    "act",
    ["status 403", "status 404", "page", "unlabelled-page", "endless", "longer 9", "drive-quota"],
)
def test_a_mirror_without_the_file_gives_way_to_the_next(
    mirrors: list[Hosted], file: SourceFile, tmp_path: Path, act: str
) -> None:
    mirrors[0].script = [act]
    assert fetched(file, tmp_path) == CONTENT
    assert len(mirrors[0].requests) == len(mirrors[1].requests) == 1


def test_what_every_mirror_answered_is_told(
    mirrors: list[Hosted], file: SourceFile, tmp_path: Path
) -> None:
    mirrors[0].script = ["page"]
    mirrors[1].content = CONTENT[:-1] + b"?"
    with pytest.raises(EpisodesError) as caught:
        download.fetch(file, tmp_path, retries=QUICK)
    message = str(caught.value)
    assert "\n" not in message
    assert f"{file.urls[0]}: sent a web page ('Please log in'), not the file; " in message
    assert f"{file.urls[1]}: sent another file: 300,000 bytes with SHA-256" in message
    assert message.endswith(f"fetch {file.urls[0]} (300.0 kB) by hand, then --from FOLDER")
    assert [path for path in tmp_path.iterdir() if not path.name.startswith(".")] == []


def test_a_file_that_changes_between_attempts_is_begun_again(
    mirrors: list[Hosted], file: SourceFile, tmp_path: Path
) -> None:
    mirrors[0].script = ["another 90000"]
    assert fetched(file, tmp_path) == CONTENT
    assert mirrors[0].requests == [None, "bytes=90000-"]
    assert mirrors[1].requests == []


def test_a_change_that_the_server_hides_is_found(
    mirrors: list[Hosted], file: SourceFile, tmp_path: Path
) -> None:
    mirrors[0].etag = None
    mirrors[0].script = ["another 90000"]
    assert fetched(file, tmp_path) == CONTENT
    assert mirrors[0].requests == [None, "bytes=90000-", None]


@pytest.mark.parametrize("size", [len(CONTENT), len(CONTENT) + 5])
def test_a_whole_but_wrong_part_is_begun_again(
    mirrors: list[Hosted], file: SourceFile, tmp_path: Path, size: int
) -> None:
    (tmp_path / "data.zip.part").write_bytes(b"?" * size)
    assert fetched(file, tmp_path) == CONTENT


def test_a_server_without_ranges_sends_all_again(
    mirrors: list[Hosted], file: SourceFile, tmp_path: Path
) -> None:
    mirrors[0].ranges = False
    mirrors[0].script = ["cut 100000"]
    assert fetched(file, tmp_path) == CONTENT
    assert mirrors[0].sent == 100_000 + len(CONTENT)


def test_offline_nothing_is_asked_for(
    mirrors: list[Hosted], file: SourceFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EPISODES_OFFLINE", "1")
    with pytest.raises(UsageError, match=r"offline \(EPISODES_OFFLINE\), and .*data.zip is not"):
        download.fetch(file, tmp_path)
    monkeypatch.delenv("EPISODES_OFFLINE")
    with pytest.raises(UsageError, match="offline, and .*data.zip is not there: go online, or"):
        download.fetch(file, tmp_path, offline=True)
    assert mirrors[0].requests == []
    (tmp_path / "data.zip").write_bytes(CONTENT)
    assert fetched(file, tmp_path) == CONTENT


def test_what_needs_an_account_says_what_to_do(file: SourceFile, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be fetched without an account: fetch http"):
        download.fetch(replace(file, access="login"), tmp_path)


def test_a_full_disk_is_not_a_fault_of_the_mirror(
    mirrors: list[Hosted], file: SourceFile, tmp_path: Path
) -> None:
    (tmp_path / "data.zip.part").mkdir()
    with pytest.raises(EpisodesError, match="cannot write .*data.zip.part: Is a directory: make"):
        download.fetch(file, tmp_path, retries=QUICK)


def test_a_folder_that_is_removed_meanwhile_is_not_a_fault_of_the_mirror(
    mirrors: list[Hosted], file: SourceFile, tmp_path: Path
) -> None:
    folder = tmp_path / "downloads"
    mirrors[0].script = ["cut 100000"]

    def remove(what: str, done: int, total: int, unit: str = "") -> None:
        shutil.rmtree(folder, ignore_errors=True)

    expected = "cannot write .*data.zip.part: No such file or directory: .*EPISODES_HOME"
    with pytest.raises(EpisodesError, match=expected):
        download.fetch(file, folder, remove, QUICK)
    assert (len(mirrors[0].requests), mirrors[1].requests) == (2, [])


def test_a_server_out_of_reach_is_asked_twice(
    mirrors: list[Hosted], file: SourceFile, tmp_path: Path
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}/data.zip"
    patient = Retries(attempts=50, first_wait=0.001)
    told: list[tuple[object, ...]] = []
    gone = replace(file, urls=(nobody,))
    with pytest.raises(EpisodesError, match=r"reached \(Connection refused\), 2 times; fetch"):
        download.fetch(gone, tmp_path, lambda *progress: told.append(progress), patient)
    assert told == [("asking again for data.zip", 1, 2)]
    download.fetch(replace(file, urls=(nobody, *file.urls)), tmp_path, retries=patient)
    assert (tmp_path / "data.zip").read_bytes() == CONTENT


def test_a_name_that_is_not_found_is_out_of_reach() -> None:
    unknown = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    fault = fault_of(URLError(unknown))
    assert isinstance(fault, Interrupted) and fault.out_of_reach
    assert str(fault) == "cannot be reached (Name or service not known)"
    assert not fault_of(URLError(TimeoutError("timed out"))).out_of_reach


def test_threads_that_fetch_the_same_file_do_it_once(
    mirrors: list[Hosted], file: SourceFile, tmp_path: Path
) -> None:
    threads = [
        threading.Thread(target=download.fetch, args=(file, tmp_path, None, QUICK))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert mirrors[0].requests == [None]


def test_processes_that_fetch_the_same_file_do_it_once(
    mirrors: list[Hosted], file: SourceFile, tmp_path: Path
) -> None:
    mirrors[0].script = ["throttle 1000", "throttle 1000"]
    code = (
        "import sys; from pathlib import Path; from episodes.download import fetch;"
        "from episodes.manifest import SourceFile; fetch(eval(sys.argv[1]), Path(sys.argv[2]))"
    )
    command = [sys.executable, "-c", code, repr(file), str(tmp_path)]
    processes = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    assert mirrors[0].requests == [None]
    assert fetched(file, tmp_path) == CONTENT


def test_a_mirror_whose_file_always_breaks_off_and_never_fits_is_left(
    mirrors: list[Hosted], file: SourceFile, tmp_path: Path
) -> None:
    mirrors[0].content = b"?" * len(CONTENT)
    mirrors[0].script = ["cut 100000", "cut 100000", "cut 100000"] * 9
    assert fetched(file, tmp_path) == CONTENT
    assert len(mirrors[0].requests) == 6


def test_a_mirror_without_ranges_that_always_breaks_off_is_left(
    mirrors: list[Hosted], file: SourceFile, tmp_path: Path
) -> None:
    mirrors[0].ranges = False
    mirrors[0].script = ["cut 90000", "cut 120000"] * 9
    assert fetched(file, tmp_path) == CONTENT
    assert len(mirrors[0].requests) == 4


def test_an_unreadable_note_of_the_origin_is_as_good_as_none(
    mirrors: list[Hosted], file: SourceFile, tmp_path: Path
) -> None:
    (tmp_path / "data.zip.part").write_bytes(CONTENT[:1000])
    for note in ("", "[]", '{"what": 1}', "\x00"):
        (tmp_path / "data.zip.part.json").write_text(note)
        mirrors[0].script = ["hang-up"] * 3
        with pytest.raises(EpisodesError, match="broke off"):
            download.fetch(replace(file, urls=file.urls[:1]), tmp_path, retries=QUICK)
    assert fetched(file, tmp_path) == CONTENT
    assert set(mirrors[0].requests) == {"bytes=1000-"}


def test_a_folder_that_cannot_be_made_is_told(file: SourceFile, tmp_path: Path) -> None:
    (tmp_path / "downloads").write_bytes(b"")
    with pytest.raises(EpisodesError, match="cannot write .*data.zip.part: .*EPISODES_HOME"):
        download.fetch(file, tmp_path / "downloads" / "tiny")


def test_the_proxy_of_the_environment_is_used(
    server: Server, file: SourceFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("no_proxy", "")
    elsewhere = "http://data.invalid/one/data.zip"
    assert fetched(replace(file, urls=(elsewhere,)), tmp_path) == CONTENT
    assert server.proxied == [elsewhere]


@pytest.mark.skipif(not shutil.which("openssl"), reason="makes a certificate with openssl")
def test_certificates_are_those_of_the_environment(
    file: SourceFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = tmp_path / "certificate.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    names = ["-subj", "/CN=local", "-addext", "subjectAltName=IP:127.0.0.1"]
    places = ["-keyout", str(tmp_path / "key.pem"), "-out", str(certificate)]
    subprocess.run([*command.split(), *names, *places], check=True, capture_output=True)
    both = tmp_path / "both.pem"
    both.write_bytes((tmp_path / "key.pem").read_bytes() + certificate.read_bytes())
    with serving(certificate=both) as server:
        server.files["data.zip"] = Hosted(CONTENT)
        secure = replace(file, urls=(server.address("data.zip"),))
        with pytest.raises(EpisodesError, match="certificate is not trusted .*SSL_CERT_FILE"):
            download.fetch(secure, tmp_path / "here", retries=QUICK)
        assert server.files["data.zip"].requests == []
        monkeypatch.setenv("SSL_CERT_FILE", os.fspath(certificate))
        assert fetched(secure, tmp_path / "here") == CONTENT
