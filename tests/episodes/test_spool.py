"""What was journaled survives; what was not is made again."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest

from episodes.prepare.decoding import Row
from episodes.prepare.spool import Spool

IDENTITY = {"recipe": {"size": 4}, "source": "tests"}


def row(number: int) -> Row:
    pixels = np.full((4, 4, 3), number % 251, np.uint8)
    sha256 = hashlib.sha256(pixels.tobytes()).digest()
    return Row(f"class{number % 5}", f"{number}.png", pixels, (4, 4, 3), sha256, f"mark{number}")


def filled(folder: Path, count: int) -> None:
    """A spool of `count` rows, journaled ten at a time, and whatever is left over at the end."""
    with Spool(folder, IDENTITY) as spool:
        for number in range(count):
            spool.add(row(number))
            if number % 10 == 9:
                spool.flush()


def check(folder: Path, expected: int) -> None:
    with Spool(folder, IDENTITY) as spool:
        assert len(spool.entries) == expected
        for number in range(expected):
            entry = spool.entries[f"class{number % 5}", f"{number}.png"]
            assert entry.sha256 == hashlib.sha256(spool.data_of(entry)).digest()
            assert entry.fingerprint == f"mark{number}"
            assert spool.pixels_of([entry]).shape == (1, 4, 4, 3)


def test_rows_are_there_at_the_next_opening(tmp_path: Path) -> None:
    filled(tmp_path / "spool", 25)
    check(tmp_path / "spool", 25)


def test_a_row_that_was_not_journaled_does_not_count(tmp_path: Path) -> None:
    killed = Spool(tmp_path / "spool", IDENTITY)
    for number in range(25):
        killed.add(row(number))
    shutil.copytree(tmp_path / "spool", tmp_path / "as the kill left it")
    killed.discard()
    check(tmp_path / "as the kill left it", 0)


@pytest.mark.parametrize("cut", [1, 10, 300, 700, 1500])
def test_a_torn_journal_is_read_up_to_its_last_whole_line(tmp_path: Path, cut: int) -> None:
    filled(tmp_path / "spool", 30)
    journal = tmp_path / "spool" / "journal"
    lines = journal.read_bytes()
    journal.write_bytes(lines[:-cut])
    whole = lines[:-cut].count(b"\n") - 1
    check(tmp_path / "spool", max(whole, 0) * 10)


def test_rows_that_are_not_on_the_disk_do_not_count(tmp_path: Path) -> None:
    filled(tmp_path / "spool", 30)
    rows = tmp_path / "spool" / "rows"
    rows.write_bytes(rows.read_bytes()[:-1])
    check(tmp_path / "spool", 20)


def test_after_a_cut_adding_goes_on_in_the_right_place(tmp_path: Path) -> None:
    filled(tmp_path / "spool", 30)
    journal = tmp_path / "spool" / "journal"
    journal.write_bytes(journal.read_bytes()[:-1])
    with Spool(tmp_path / "spool", IDENTITY) as spool:
        for number in range(20, 30):
            spool.add(row(number))
        spool.flush()
    check(tmp_path / "spool", 30)


def test_the_spool_of_another_preparation_is_begun_again(tmp_path: Path) -> None:
    filled(tmp_path / "spool", 30)
    with Spool(tmp_path / "spool", {**IDENTITY, "source": "others"}) as spool:
        assert spool.entries == {}
    check(tmp_path / "spool", 0)


@pytest.mark.parametrize("text", [b"", b"\x00\xff\n", b"{}\n", b"[1]\n", b'{"rows": 3}\n'])
def test_a_damaged_journal_is_begun_again(tmp_path: Path, text: bytes) -> None:
    filled(tmp_path / "spool", 30)
    (tmp_path / "spool" / "journal").write_bytes(text)
    check(tmp_path / "spool", 0)
