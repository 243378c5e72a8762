"""Google Drive's ways, as its pages were read in 2026, from a local server."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from episodes import download
from episodes.download import Retries, drive
from episodes.download.pages import Page
from episodes.errors import EpisodesError, UsageError
from episodes.manifest import SourceFile
from tests.episodes.servers import Hosted, Server, serving

CONTENT = bytes(index * index % 251 for index in range(300_000))
QUICK = Retries(attempts=3, first_wait=0.001)
VIEW = "https://drive.google.com/file/d/some-id/view"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serving() as server:
        server.files["some-id"] = Hosted(CONTENT)
        server.files["elsewhere/data.zip"] = Hosted(CONTENT)
        monkeypatch.setattr(drive, "ADDRESS", server.drive_address)
        yield server


@pytest.fixture
def hosted(server: Server) -> Hosted:
    return server.files["some-id"]


@pytest.fixture
def file(server: Server) -> SourceFile:
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    return SourceFile("data.zip", "gdrive", ("gdrive:some-id",), sha256=sha256)


@pytest.mark.parametrize("confirm", [None, "form", "cookie"])
def test_a_file_is_fetched_past_the_confirmation_and_resumed(
    hosted: Hosted, file: SourceFile, tmp_path: Path, confirm: str | None
) -> None:
    hosted.confirm = confirm
    hosted.script = ["cut 100000", "hang-up", "cut 70000"]
    path = download.fetch(file, tmp_path, retries=QUICK)
    assert path.read_bytes() == CONTENT
    assert hosted.requests == [None, "bytes=100000-", "bytes=100000-", "bytes=170000-"]
    assert hosted.sent >= len(CONTENT)


def test_a_version_that_changed_is_begun_again(
    hosted: Hosted, file: SourceFile, tmp_path: Path
) -> None:
    hosted.confirm = "form"
    hosted.script = ["another 90000"]
    assert download.fetch(file, tmp_path, retries=QUICK).read_bytes() == CONTENT
    assert hosted.requests == [None, "bytes=90000-"]


@pytest.mark.parametrize(
    "act, told",
    [
        ("drive-quota", f"quota for this file is spent: try again in a day, or open {VIEW}"),
        ("drive-missing", "Google Drive has no such file any more"),
        ("drive-sign-in", "Google Drive asks to sign in: the file is not shared with everyone"),
        ("page", r"Google Drive sent a web page \('Please log in'\), not the file"),
    ],
)
@pytest.mark.parametrize("confirm", [None, "form"])
def test_what_drive_says_in_the_place_of_the_file_is_told_and_the_next_mirror_asked(
    server: Server, file: SourceFile, tmp_path: Path, act: str, told: str, confirm: str | None
) -> None:
    hosted = server.files["some-id"]
    hosted.confirm, hosted.script = confirm, [act]
    with pytest.raises(EpisodesError, match=told) as caught:
        download.fetch(file, tmp_path, retries=QUICK)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(f"fetch {VIEW} by hand, then --from FOLDER")
    assert len(hosted.requests) == 1
    hosted.script = [act]
    both = replace(file, urls=(*file.urls, server.address("elsewhere/data.zip")))
    assert download.fetch(both, tmp_path, retries=QUICK).read_bytes() == CONTENT


def test_an_id_that_does_not_exist_is_told(file: SourceFile, tmp_path: Path) -> None:
    with pytest.raises(EpisodesError, match="gdrive:other-id: Google Drive has no such file"):
        download.fetch(replace(file, urls=("gdrive:other-id",)), tmp_path, retries=QUICK)


def test_passing_faults_are_tried_again(hosted: Hosted, file: SourceFile, tmp_path: Path) -> None:
    hosted.confirm = "form"
    hosted.script = ["status 503", "retry-after 0"]
    assert download.fetch(file, tmp_path, retries=QUICK).read_bytes() == CONTENT


def test_offline_the_page_to_open_is_told(file: SourceFile, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"offline, and .* fetch {VIEW} by hand"):
        download.fetch(file, tmp_path, offline=True)


@pytest.mark.parametrize(
    "source",
    [
        "",
        "<",
        "<![x[",
        "<!DOCTYPE",
        "<title>",
        "<form id=download-form><input type=hidden>",
        "&#x;",
    ],
)
def test_any_page_is_read(source: str) -> None:
    assert "sent a web page" in Page(source).told()
