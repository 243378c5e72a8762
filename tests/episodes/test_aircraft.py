"""FGVC-Aircraft: its split tables against their rules, its reader against its layout."""

import hashlib
import re
import tarfile
from pathlib import Path

import pytest

from episodes import manifest, readers
from episodes.errors import EpisodesError
from episodes.readers import Record
from tests.episodes.layouts import Images, small
from tests.episodes.layouts.aircraft import write_archive
from tests.episodes.layouts.making import add

FACTS = manifest.load("aircraft")
ARCHIVE = "fgvc-aircraft-2013b.tar.gz"


def read(folder: Path, boxes: bool = False) -> list[Record]:
    source = FACTS.sources[0]
    return list(readers.reader_of(source)(FACTS, source, folder, boxes))


def write_small(folder: Path) -> Images:
    return write_archive(folder, small(FACTS, "archive"))


def write_tgz(folder: Path, files: dict[str, bytes | str]) -> Path:
    with tarfile.open(folder / ARCHIVE, "w:gz") as tar:
        for name, content in files.items():
            add(tar, f"fgvc-aircraft-2013b/data/{name}", content)
    return folder


def names(scheme: str, part: str) -> set[str]:
    return {FACTS.class_names[row] for row in FACTS.schemes[scheme].classes[part]}


def test_variants_are_in_ascii_order_with_their_slashes() -> None:
    assert list(FACTS.class_names) == sorted(FACTS.class_names)
    assert {"F-16A/B", "F/A-18", "BAE 146-200"} < set(FACTS.class_names)
    assert FACTS.class_images == (100,) * 100


def test_rule_schemes_are_their_rules() -> None:
    parts = ("train", "val", "train", "test")
    by_hash = sorted(FACTS.class_names, key=lambda n: hashlib.sha256(n.encode()).hexdigest())
    ours = {"train": by_hash[:64], "val": by_hash[64:80], "test": by_hash[80:]}
    for part in manifest.PARTS:
        frn = {name for i, name in enumerate(FACTS.class_names) if parts[i % 4] == part}
        assert names("frn", part) == frn
        assert names("episodes-64-16-20", part) == set(ours[part])


def test_every_scheme_counts_a_hundred_images_a_class() -> None:
    for scheme in FACTS.schemes.values():
        assert scheme.images == {part: 100 * len(rows) for part, rows in scheme.classes.items()}


@pytest.mark.parametrize("packed", [True, False])
def test_reads_every_image_with_its_variant(tmp_path: Path, packed: bool) -> None:
    images = write_small(tmp_path)
    if not packed:
        with tarfile.open(tmp_path / ARCHIVE) as tar:
            tar.extractall(tmp_path, filter="data")
        (tmp_path / ARCHIVE).unlink()
    records = read(tmp_path)
    assert {(r.class_name, r.image_id): r.image for r in records} == images
    assert len(records) == len(images)
    assert {record.class_name for record in records} == set(FACTS.class_names)


def test_boxes_are_the_lists_numbers_as_they_stand(tmp_path: Path) -> None:
    write_small(tmp_path)
    with tarfile.open(tmp_path / ARCHIVE) as tar:
        text = tar.extractfile("fgvc-aircraft-2013b/data/images_box.txt").read().decode()
    rows = re.findall(r"(\d{7}) (\d+) (\d+) (\d+) (\d+)\n", text)
    expected = {f"{file}.jpg": tuple(map(int, edges)) for file, *edges in rows}
    assert {r.image_id: r.box for r in read(tmp_path, boxes=True)} == expected


def test_images_without_a_variant_are_passed_over(tmp_path: Path) -> None:
    write_tgz(
        tmp_path,
        {
            "images/0000001.jpg": b"a",
            "images/0000002.jpg": b"b",
            "images/._0000001.jpg": b"",
            "images_variant_test.txt": "0000001 Boeing 717\n",
        },
    )
    assert read(tmp_path) == [Record("Boeing 717", "0000001.jpg", b"a")]


@pytest.mark.parametrize(
    ("lists", "complaint"),
    [
        ({}, "has no images_variant_train.txt"),
        ({"images_variant_val.txt": "0000001\n"}, "images_variant_val.txt, line 1: '0000001'"),
        ({"images_variant_val.txt": "0000001 A310\n"}, "has no box for 0000001.jpg"),
        (
            {"images_variant_val.txt": "0000001 A310\n", "images_box.txt": "0000001 1 2 3\n"},
            "images_box.txt, image 0000001: '1 2 3' is no box",
        ),
    ],
)
def test_damaged_lists_are_told_in_one_line(
    tmp_path: Path, lists: dict[str, str], complaint: str
) -> None:
    write_tgz(tmp_path, {"images/0000001.jpg": b"a", **lists})
    with pytest.raises(EpisodesError) as caught:
        read(tmp_path, boxes=True)
    message = str(caught.value)
    assert ARCHIVE in message and complaint in message and "\n" not in message
