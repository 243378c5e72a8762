"""Downloads against a local server that misbehaves in the ways that real ones do."""

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from episodes import download
from episodes.download import Retries
from episodes.errors import EpisodesError, UsageError
from episodes.manifest import SourceFile

CONTENT = bytes(index * index % 251 for index in range(300_000))
QUICK = Retries(attempts=3, first_wait=0.001)


@dataclass
class Mirror:
    """A server of one file; `script` holds what it does with each request, then it behaves."""

    url: str = ""
    content: bytes = CONTENT
    etag: str | None = '"1"'
    ranges: bool = True
    script: list[str] = field(default_factory=list)
    requests: list[str | None] = field(default_factory=list)
    sent: int = 0


def handler_for(mirror: Mirror) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: object) -> None:
            pass

        def do_GET(self) -> None:
            self.close_connection = True
            mirror.requests.append(self.headers["Range"])
            act, _, detail = (mirror.script.pop(0) if mirror.script else "serve").partition(" ")
            match act:
                case "status":
                    self.answer(int(detail), b"no")
                case "retry-after":
                    self.answer(429, b"slow down", {"Retry-After": detail})
                case "page":
                    self.answer(200, b"<html>quota</html>", {"Content-Type": "text/html"})
                case "unlabelled-page":
                    self.answer(200, b"<!DOCTYPE html>" + b" " * 400)
                case "redirect":
                    self.answer(302, b"", {"Location": mirror.url})
                case "change":
                    mirror.content, mirror.etag = CONTENT, '"2"'
                    self.serve()
                case "endless":
                    self.answer(200, mirror.content * 3)
                case "cut":
                    self.serve(int(detail))
                case "hang-up":
                    self.wfile.close()
                case _:
                    self.serve()

        def serve(self, limit: int | None = None) -> None:
            start = 0
            condition = self.headers["If-Range"]
            if mirror.ranges and self.headers["Range"] and condition in (None, mirror.etag):
                start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            if start and start >= len(mirror.content):
                self.answer(416, b"")
                return
            body = mirror.content[start:]
            headers = {"ETag": mirror.etag} if mirror.etag else {}
            if start:
                headers["Content-Range"] = f"bytes {start}-{len(mirror.content) - 1}/*"
            self.answer(206 if start else 200, body, headers, limit)

        def answer(
            self,
            status: int,
            body: bytes,
            headers: dict[str, str] | None = None,
            limit: int | None = None,
        ) -> None:
            self.send_response(status)
            for name, value in {
                "Content-Type": "application/zip",
                "Content-Length": str(len(body)),
                **(headers or {}),
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body[:limit])
            mirror.sent += len(body[:limit])

    return Handler


@pytest.fixture
def mirrors() -> Iterator[list[Mirror]]:
    """Two mirrors of the same file."""
    made, servers = [Mirror(), Mirror()], []
    for mirror in made:
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler_for(mirror))
        mirror.url = f"http://127.0.0.1:{server.server_port}/data.zip"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
    yield made
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def file(mirrors: list[Mirror]) -> SourceFile:
    return SourceFile(
        name="data.zip",
        bytes=len(CONTENT),
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        access="open",
        urls=tuple(mirror.url for mirror in mirrors),
    )


def fetched(file: SourceFile, folder: Path) -> bytes:
    path = download.fetch(file, folder, retries=QUICK)
    assert path == folder / "data.zip"
    visible = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    assert visible == {"data.zip"}
    return path.read_bytes()


def test_a_file_is_fetched_once(mirrors: list[Mirror], file: SourceFile, tmp_path: Path) -> None:
    progress: list[tuple[int, int]] = []
    download.fetch(file, tmp_path, lambda done, total: progress.append((done, total)), QUICK)
    assert progress[-1] == (len(CONTENT), len(CONTENT))
    assert fetched(file, tmp_path) == CONTENT
    assert mirrors[0].requests == [None]
    assert mirrors[1].requests == []


@pytest.mark.parametrize("etag", ['"1"', None])
def test_three_disconnections_cost_no_byte_twice(
    mirrors: list[Mirror], file: SourceFile, tmp_path: Path, etag: str | None
) -> None:
    mirrors[0].etag = etag
    mirrors[0].script = ["cut 100000", "hang-up", "cut 70000", "cut 1"]
    assert fetched(file, tmp_path) == CONTENT
    assert mirrors[0].sent == len(CONTENT)
    assert mirrors[0].requests[-1] == "bytes=170001-"


def test_a_later_call_goes_on_where_an_earlier_one_broke_off(
    mirrors: list[Mirror], file: SourceFile, tmp_path: Path
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
    ],
)
def test_passing_faults_are_tried_again(
    mirrors: list[Mirror], file: SourceFile, tmp_path: Path, script: list[str]
) -> None:
    mirrors[0].script = script
    assert fetched(file, tmp_path) == CONTENT
    assert mirrors[1].requests == []


@pytest.mark.parametrize("act", ["status 403", "status 404", "page", "unlabelled-page", "endless"])
def test_a_mirror_without_the_file_gives_way_to_the_next(
    mirrors: list[Mirror], file: SourceFile, tmp_path: Path, act: str
) -> None:
    mirrors[0].script = [act]
    assert fetched(file, tmp_path) == CONTENT
    assert len(mirrors[0].requests) == len(mirrors[1].requests) == 1


def test_what_every_mirror_answered_is_told(
    mirrors: list[Mirror], file: SourceFile, tmp_path: Path
) -> None:
    mirrors[0].script = ["page"]
    mirrors[1].content = CONTENT[:-1] + b"?"
    with pytest.raises(EpisodesError) as caught:
        download.fetch(file, tmp_path, retries=QUICK)
    message = str(caught.value)
    assert "\n" not in message
    assert f"{mirrors[0].url}: sent a web page" in message
    assert f"{mirrors[1].url}: sent another file: 300,000 bytes with SHA-256" in message
    assert message.endswith(f"fetch {file.urls[0]} (300,000 bytes) by hand, then --from FOLDER")
    assert [path for path in tmp_path.iterdir() if not path.name.startswith(".")] == []


def test_a_file_that_changes_between_attempts_is_begun_again(
    mirrors: list[Mirror], file: SourceFile, tmp_path: Path
) -> None:
    mirrors[0].content = b"?" * len(CONTENT)
    mirrors[0].script = ["cut 90000", "change"]
    assert fetched(file, tmp_path) == CONTENT
    assert mirrors[1].requests == []


def test_a_change_that_the_server_hides_is_found(
    mirrors: list[Mirror], file: SourceFile, tmp_path: Path
) -> None:
    (tmp_path / "data.zip.part").write_bytes(b"?" * 90_000)
    mirrors[0].etag = None
    assert fetched(file, tmp_path) == CONTENT
    assert mirrors[0].requests == ["bytes=90000-", None]


@pytest.mark.parametrize("size", [len(CONTENT), len(CONTENT) + 5])
def test_a_whole_but_wrong_part_is_begun_again(
    mirrors: list[Mirror], file: SourceFile, tmp_path: Path, size: int
) -> None:
    (tmp_path / "data.zip.part").write_bytes(b"?" * size)
    assert fetched(file, tmp_path) == CONTENT


def test_a_server_without_ranges_sends_all_again(
    mirrors: list[Mirror], file: SourceFile, tmp_path: Path
) -> None:
    mirrors[0].ranges = False
    mirrors[0].script = ["cut 100000"]
    assert fetched(file, tmp_path) == CONTENT
    assert mirrors[0].sent == 100_000 + len(CONTENT)


def test_offline_nothing_is_asked_for(
    mirrors: list[Mirror], file: SourceFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EPISODES_OFFLINE", "1")
    with pytest.raises(UsageError, match="offline, and .*data.zip is not there"):
        download.fetch(file, tmp_path)
    assert mirrors[0].requests == []
    (tmp_path / "data.zip").write_bytes(CONTENT)
    assert fetched(file, tmp_path) == CONTENT


def test_what_needs_an_account_says_what_to_do(file: SourceFile, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be fetched without an account: fetch http"):
        download.fetch(replace(file, access="login"), tmp_path)


def test_a_full_disk_is_not_a_fault_of_the_mirror(
    mirrors: list[Mirror], file: SourceFile, tmp_path: Path
) -> None:
    (tmp_path / "data.zip.part").mkdir()
    with pytest.raises(EpisodesError, match="cannot write .*data.zip.part: Is a directory: make"):
        download.fetch(file, tmp_path, retries=QUICK)


def test_threads_that_fetch_the_same_file_do_it_once(
    mirrors: list[Mirror], file: SourceFile, tmp_path: Path
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
