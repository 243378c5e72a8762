"""VGG Flower: its classes, and its reader against its layout and against damage."""

import tarfile
from pathlib import Path

import pytest

from episodes import manifest, readers
from episodes.errors import EpisodesError
from episodes.readers import Record
from tests.episodes.layouts.flowers import mat_file
from tests.episodes.layouts.making import add

FACTS = manifest.load("vgg-flower")


def read(folder: Path) -> list[Record]:
    source = FACTS.sources[0]
    return list(readers.reader_of(source)(FACTS, source, folder, False))


def write(folder: Path, labels: list[int], numbers: list[int]) -> Path:
    with tarfile.open(folder / "102flowers.tgz", "w:gz") as tar:
        for number in numbers:
            add(tar, f"jpg/image_{number:05d}.jpg", b"%d" % number)
        add(tar, "jpg/readme.txt", "stray")
    (folder / "imagelabels.mat").write_bytes(mat_file([("labels", labels)]))
    return folder


def test_every_class_has_a_number_from_1_and_a_name() -> None:
    assert sorted(int(name[:3]) for name in FACTS.class_names) == list(range(1, 103))
    assert {"012.colt's foot", "060.pink-yellow dahlia?"} < set(FACTS.class_names)


def test_a_photographs_label_is_that_of_its_number(tmp_path: Path) -> None:
    write(tmp_path, [77, 1, 102], [3, 1, 2])
    assert read(tmp_path) == [
        Record("102.blackberry lily", "image_00003.jpg", b"3"),
        Record("077.passion flower", "image_00001.jpg", b"1"),
        Record("001.pink primrose", "image_00002.jpg", b"2"),
    ]


@pytest.mark.parametrize(
    ("labels", "numbers", "complaint"),
    [
        ([77], [1, 2], "imagelabels.mat has 1 labels, none for image_00002.jpg"),
        ([77], [0], "none for image_00000.jpg"),
        ([0], [1], "imagelabels.mat, image_00001.jpg: its class is 0; expected 1 to 102"),
    ],
)
def test_photographs_without_a_class_are_named(
    tmp_path: Path, labels: list[int], numbers: list[int], complaint: str
) -> None:
    write(tmp_path, labels, numbers)
    with pytest.raises(EpisodesError) as caught:
        read(tmp_path)
    message = str(caught.value)
    assert complaint in message and "again" in message and "\n" not in message


def test_labels_under_another_name_are_not_taken(tmp_path: Path) -> None:
    write(tmp_path, [77], [1])
    (tmp_path / "imagelabels.mat").write_bytes(mat_file([("trnid", [77])]))
    with pytest.raises(EpisodesError, match="imagelabels.mat has no matrix called 'labels'"):
        read(tmp_path)
