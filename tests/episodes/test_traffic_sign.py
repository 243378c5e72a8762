"""GTSRB: its reader against its layout, and against what is often taken for it."""

import zipfile
from pathlib import Path

import pytest

from episodes import manifest, readers
from episodes.errors import EpisodesError
from episodes.prepare import prepare
from episodes.readers import Record
from tests.episodes.layouts import small
from tests.episodes.layouts.gtsrb import ARCHIVE, write_archive

FACTS = manifest.load("traffic-sign")
STOP = "14.Stop"
PPM = b"P6\n1 1\n255\n\1\2\3"


def write_zip(folder: Path, files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(folder / ARCHIVE, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def read(folder: Path) -> list[Record]:
    source = FACTS.sources[0]
    return list(readers.reader_of(source)(FACTS, source, folder, False))


def test_classes_are_numbered_from_0_as_their_folders() -> None:
    assert [int(name[:2]) for name in FACTS.class_names] == list(range(43))
    assert FACTS.class_names[30] == "30.Beware of ice/snow"


def test_lists_and_other_sets_are_passed_over(tmp_path: Path) -> None:
    write_zip(
        tmp_path,
        {
            "GTSRB/Final_Training/Images/00014/GT-00014.csv": b"Filename;Width\n",
            "GTSRB/Final_Training/Images/00014/00003_00029.ppm": PPM,
            "GTSRB/Final_Training/HOG/HOG_01/00014/00003_00029.txt": b"0.1",
            "GTSRB/Final_Test/Images/00000.ppm": PPM,
            "GTSRB/Training/00014/00003_00029.ppm": PPM,
        },
    )
    assert read(tmp_path) == [Record(STOP, "00003_00029.ppm", PPM)]


def test_the_smaller_set_is_not_taken_for_it(tmp_path: Path) -> None:
    write_zip(tmp_path, {"GTSRB/Training/00014/00003_00029.ppm": PPM})
    with pytest.raises(EpisodesError, match=r"smaller training set .* fetch GTSRB_Final_Training"):
        read(tmp_path)


def test_a_class_that_there_is_not_is_named(tmp_path: Path) -> None:
    write_zip(tmp_path, {"GTSRB/Final_Training/Images/00043/00000_00000.ppm": PPM})
    with pytest.raises(
        EpisodesError, match="00043/00000_00000.ppm: its class is 43; expected 0 to"
    ):
        read(tmp_path)


def test_a_store_of_original_files_keeps_the_ppms_and_tests_on_every_class(tmp_path: Path) -> None:
    facts = small(FACTS, "archive")
    images = write_archive(tmp_path, facts)
    store = prepare(facts, tmp_path, home=tmp_path / "home", encoding="original", threads=1)
    assert store.encoded(0) == images[facts.class_names[0], "00000_00000.ppm"]
    assert {store.image(row).shape for row in range(6)} > {(6, 8, 3), (7, 9, 3)}
    assert len(store.split_classes("train")) == len(store.split_classes("val")) == 0
    assert store.split_classes("test").tolist() == list(range(43))
