"""What is shown while files are fetched and images are read."""

import io
import sys

import pytest

from episodes import progress
from episodes.progress import line, preparation_progress


def test_lines_tell_sizes_rate_and_remaining_time() -> None:
    begun, now = 280_900_000, 512_000_000
    shown = line("fetching a.tgz", now, 1_150_585_339, "bytes", now - begun, 10.0)
    assert shown == "fetching a.tgz: 512.0 MB of 1.2 GB, 23.1 MB/s, 0:00:28 left"


def test_lines_tell_counts() -> None:
    shown = line("reading images", 6000, 60_000, "", 3000, 2.0)
    assert shown == "reading images: 6,000 of 60,000, 1,500/s, 0:00:36 left"


def test_lines_without_a_known_total_or_rate() -> None:
    assert line("fetching a", 5_000_000, 0, "bytes", 0, 0.0) == "fetching a: 5.0 MB"
    assert line("fetching a", 5_000_000, 0, "bytes", 4_000_000, 2.0) == (
        "fetching a: 5.0 MB, 2.0 MB/s"
    )
    assert line("fetching a", 5, 10, "bytes", 0, 1.0) == "fetching a: 5 bytes of 10 bytes"


def test_what_was_there_before_is_no_part_of_the_rate(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    with preparation_progress() as shown:
        shown("fetching a", 900_000_000, 1_000_000_000, "bytes")
        shown("reading images", 3, 10)
    first, second = capsys.readouterr().err.splitlines()
    assert first == "fetching a: 900.0 MB of 1.0 GB"
    assert second == "reading images: 3 of 10"


def test_nothing_is_shown_where_that_was_asked(capsys: pytest.CaptureFixture[str]) -> None:
    with preparation_progress(enabled=False) as shown:
        shown("reading images", 3, 10)
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    with preparation_progress() as shown:
        for done in (100_000_000, 200_000_000):
            shown("fetching [a].tgz", done, 1_000_000_000, "bytes")
        shown("fetching b", 7_000_000, 0, "bytes")
        shown("reading images", 3, 10)
    text = terminal.getvalue()
    assert "fetching [a].tgz" in text
    assert "0.2/1.0 GB" in text
    assert "7.0/? MB" in text
    assert "3/10" in text
