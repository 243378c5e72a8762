"""Stanford Dogs: its split tables against their rules, its reader against its layout."""

import io
import re
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from episodes import manifest, readers
from episodes.errors import EpisodesError
from episodes.readers import Record
from tests.episodes.layouts import Images, small
from tests.episodes.layouts.dogs import write_archive
from tests.episodes.layouts.making import add

FACTS = manifest.load("dogs")
CHIHUAHUA = "n02085620-Chihuahua"
ENTITIES = """<!DOCTYPE annotation [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;">]>
<annotation><object><bndbox><xmin>&b;</xmin></bndbox></object></annotation>"""
BOX = """<annotation><object><bndbox>
<xmin>1</xmin><ymin>2</ymin><xmax>3</xmax><ymax>4</ymax>
</bndbox></object></annotation>"""


def read(folder: Path, boxes: bool = False) -> list[Record]:
    source = FACTS.sources[0]
    return list(readers.reader_of(source)(FACTS, source, folder, boxes))


def write_small(folder: Path) -> Images:
    return write_archive(folder, small(FACTS, "archive"))


def write_tars(folder: Path, annotation: bytes | str | None) -> Path:
    with tarfile.open(folder / "images.tar", "w") as tar:
        add(tar, f"Images/{CHIHUAHUA}/n02085620_7.jpg", b"a")
    with tarfile.open(folder / "annotation.tar", "w") as tar:
        add(tar, f"Annotation/{CHIHUAHUA}", None)
        if annotation is not None:
            add(tar, f"Annotation/{CHIHUAHUA}/n02085620_7", annotation)
    return folder


def test_classes_are_the_sorted_folders() -> None:
    assert list(FACTS.class_names) == sorted(FACTS.class_names)
    assert len(FACTS.class_names) == 120
    assert FACTS.identity is not None
    wnids = [re.match(FACTS.identity.pattern, name)[1] for name in FACTS.class_names]
    assert len(set(wnids)) == 120


def test_counts_are_the_published_ones() -> None:
    counts = [count or 0 for count in FACTS.class_images]
    assert (sum(counts), min(counts), max(counts)) == (20580, 148, 252)
    published = {"train": 11962, "val": 3478, "test": 5140}
    assert FACTS.schemes["dn4"].images == published
    for scheme in FACTS.schemes.values():
        sums = {part: sum(counts[c] for c in rows) for part, rows in scheme.classes.items()}
        assert scheme.images == sums, scheme.name


def test_our_own_split_is_the_closerlook_rule_on_the_sorted_folders() -> None:
    parts = ("train", "val", "train", "test")
    for part, rows in FACTS.schemes["episodes-60-30-30"].classes.items():
        assert list(rows) == [row for row in range(120) if parts[row % 4] == part]


def test_only_the_box_crop_needs_the_annotations(tmp_path: Path) -> None:
    images = write_small(tmp_path)
    (tmp_path / "annotation.tar").unlink()
    assert [file.name for file in FACTS.sources[0].files_for("none")] == ["images.tar"]
    assert len(FACTS.sources[0].files_for("box")) == 2
    assert len(read(tmp_path)) == len(images)
    with pytest.raises(EpisodesError, match=r"neither annotation\.tar nor the folder Annotation"):
        read(tmp_path, boxes=True)


@pytest.mark.parametrize("packed", [True, False])
def test_reads_every_image_and_its_first_box(tmp_path: Path, packed: bool) -> None:
    images = write_small(tmp_path)
    expected = first_boxes(tmp_path / "annotation.tar")
    if not packed:
        for name in ("images.tar", "annotation.tar"):
            with tarfile.open(tmp_path / name) as tar:
                tar.extractall(tmp_path, filter="data")
            (tmp_path / name).unlink()
    records = read(tmp_path, boxes=True)
    assert {(r.class_name, r.image_id): r.image for r in records} == images
    assert len(records) == len(images)
    assert {f"{r.class_name}/{Path(r.image_id).stem}": r.box for r in records} == expected
    assert [r.box for r in read(tmp_path)] == [None] * len(images)


def first_boxes(archive: Path) -> dict[str, tuple[int, ...]]:
    """The first four edges of every annotation, by a reading of its own."""
    boxes = {}
    with tarfile.open(archive) as tar:
        for entry in filter(tarfile.TarInfo.isfile, tar):
            text = tar.extractfile(entry).read().decode()
            edges = re.findall(r"<[xy]m\w+>(\d+)<", text)[:4]
            boxes[entry.name.removeprefix("Annotation/")] = tuple(map(int, edges))
    return boxes


def test_the_png_called_jpg_is_there(tmp_path: Path) -> None:
    write_small(tmp_path)
    (record,) = [r for r in read(tmp_path) if r.image_id == "n02105855_2933.jpg"]
    with Image.open(io.BytesIO(record.image)) as image:
        assert (image.format, image.mode) == ("PNG", "RGBA")


def test_box_has_the_annotations_numbers(tmp_path: Path) -> None:
    write_tars(tmp_path, BOX)
    assert [record.box for record in read(tmp_path, boxes=True)] == [(1, 2, 3, 4)]


@pytest.mark.parametrize(
    "annotation",
    [
        ENTITIES,
        ENTITIES.encode("utf-16"),
        ENTITIES.encode("utf-16-le"),
        "",
        "no XML",
        "<annotation></annotation>",
        BOX.replace("<xmax>3</xmax>", ""),
        BOX.replace("3", "wide"),
        '<?xml version="1.0" encoding="no-such"?>' + BOX,
    ],
)
def test_damaged_and_dangerous_annotations_are_told_in_one_line(
    tmp_path: Path, annotation: bytes | str
) -> None:
    write_tars(tmp_path, annotation)
    with pytest.raises(EpisodesError) as caught:
        read(tmp_path, boxes=True)
    message = str(caught.value)
    assert "annotation.tar, Annotation/n02085620-Chihuahua/n02085620_7" in message
    assert "fetch it again" in message and "\n" not in message


def test_endless_annotation_is_refused_unread(tmp_path: Path) -> None:
    write_tars(tmp_path, BOX + " " * (1 << 20))
    with pytest.raises(EpisodesError, match=r"n02085620_7' claims \d+ bytes; expected 1048576"):
        read(tmp_path, boxes=True)


def test_image_without_annotation_is_named(tmp_path: Path) -> None:
    write_tars(tmp_path, None)
    with pytest.raises(EpisodesError, match=r"no box for n02085620-Chihuahua/n02085620_7\.jpg"):
        read(tmp_path, boxes=True)
