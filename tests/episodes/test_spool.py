"""What was committed survives; what was not, or was damaged, is made again."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest

from episodes.errors import EpisodesError
from episodes.prepare.decoding import Row
from episodes.prepare.spool import Spool, SpoolIsStale

IDENTITY = {"recipe": {"size": 4}, "source": "tests"}


def row(number: int) -> Row:
    pixels = np.full((4, 4, 3), number % 251, np.uint8)
    sha256 = hashlib.sha256(pixels.tobytes()).digest()
    return Row(f"class{number % 5}", f"{number}.png", pixels, (4, 4, 3), sha256, f"mark{number}")


def fill(spool: Spool, first: int, last: int) -> None:
    for number in range(first, last):
        spool.add(row(number))
        if number % 10 == 9:
            spool.flush()


def filled(folder: Path, count: int) -> Path:
    """A spool of `count` rows, committed ten at a time."""
    with Spool(folder, IDENTITY) as spool:
        fill(spool, 0, count)
    return folder


def check(folder: Path, expected: int) -> None:
    with Spool(folder, IDENTITY) as spool:
        assert spool.class_sizes() == {}
        there = [n for n in range(60) if spool.visit(f"class{n % 5}", f"{n}.png", f"mark{n}")]
        assert there == list(range(expected))
        assert sum(spool.class_sizes().values()) == expected
        for cls in range(5):
            for entry in spool.entries(f"class{cls}"):
                number = int(entry.image_id.removesuffix(".png"))
                assert number % 5 == cls
                np.testing.assert_array_equal(spool.pixels_of([entry])[0], row(number).data)
                assert entry.sha256 == hashlib.sha256(spool.data_of(entry)).digest()


def test_rows_are_there_at_the_next_opening(tmp_path: Path) -> None:
    check(filled(tmp_path / "spool", 25), 25)


def test_a_row_that_was_not_committed_does_not_count(tmp_path: Path) -> None:
    killed = Spool(filled(tmp_path / "spool", 20), IDENTITY)
    for number in range(20, 25):
        killed.add(row(number))
    left = shutil.copytree(tmp_path / "spool", tmp_path / "as the kill left it")
    killed.discard()
    check(left, 20)
    with Spool(left, IDENTITY) as spool:
        fill(spool, 20, 30)
    check(left, 30)


def test_only_what_was_found_again_counts(tmp_path: Path) -> None:
    with Spool(filled(tmp_path / "spool", 30), IDENTITY) as spool:
        assert spool.visit("class3", "8.png", "mark8")
        assert not spool.visit("class3", "99.png", "mark99")
        spool.add(row(40))
        assert spool.class_sizes() == {"class0": 1, "class3": 1}
        assert [entry.image_id for entry in spool.entries("class3")] == ["8.png"]
        names = "\n".join(["class0/40.png", "class3/8.png"])
        assert spool.names_sha256() == hashlib.sha256(names.encode()).hexdigest()
        more = "\n".join(["class0/40.png", "class1/x", "class3/8.png"])
        assert spool.names_sha256(["class1/x"]) == hashlib.sha256(more.encode()).hexdigest()


def test_an_image_that_changed_makes_the_spool_stale(tmp_path: Path) -> None:
    with Spool(filled(tmp_path / "spool", 30), IDENTITY) as spool, pytest.raises(SpoolIsStale):
        spool.visit("class3", "8.png", "another mark")


def test_an_image_that_comes_twice_is_told(tmp_path: Path) -> None:
    with Spool(filled(tmp_path / "spool", 30), IDENTITY) as spool:
        assert spool.visit("class3", "8.png", "mark8")
        with pytest.raises(EpisodesError, match="the image class3/8.png is there twice"):
            spool.visit("class3", "8.png", "mark8")
        spool.add(row(40))
        with pytest.raises(EpisodesError, match="the image class0/40.png is there twice"):
            spool.add(row(40))


@pytest.mark.parametrize("place", [0, 47, 700, 1439])
def test_a_row_that_was_damaged_on_the_disk_is_noticed(tmp_path: Path, place: int) -> None:
    rows = filled(tmp_path / "spool", 30) / "rows"
    data = bytearray(rows.read_bytes())
    data[place] ^= 1
    rows.write_bytes(bytes(data))
    with pytest.raises(SpoolIsStale):
        check(tmp_path / "spool", 30)


def test_a_row_that_is_cut_off_is_noticed(tmp_path: Path) -> None:
    rows = filled(tmp_path / "spool", 30) / "rows"
    rows.write_bytes(rows.read_bytes()[:-1])
    with pytest.raises(SpoolIsStale):
        check(tmp_path / "spool", 30)


def test_the_spool_of_another_preparation_is_begun_again(tmp_path: Path) -> None:
    filled(tmp_path / "spool", 30)
    with Spool(tmp_path / "spool", {**IDENTITY, "source": "others"}) as spool:
        assert not spool.visit("class3", "8.png", "mark8")
    check(tmp_path / "spool", 0)


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "zeros", "missing"])
def test_a_damaged_index_is_begun_again(tmp_path: Path, damage: str) -> None:
    index = filled(tmp_path / "spool", 30) / "index.sqlite"
    data = index.read_bytes()
    match damage:
        case "empty":
            index.write_bytes(b"")
        case "text":
            index.write_bytes(b"not a database at all\n" * 100)
        case "cut":
            index.write_bytes(data[: len(data) // 2])
        case "zeros":
            index.write_bytes(data[:100] + bytes(len(data) - 100))
        case "missing":
            index.unlink()
    check(tmp_path / "spool", 0)


def test_shapes_that_differ_have_nothing_in_common(tmp_path: Path) -> None:
    with Spool(filled(tmp_path / "spool", 3), IDENTITY) as spool:
        spool.add(row(50))
        assert spool.common_shape() == (4, 4, 3)
        pixels = np.zeros((2, 3, 3), np.uint8)
        spool.add(Row("class1", "x", pixels, (2, 3, 3), bytes(32), "mark"))
        assert spool.common_shape() is None
