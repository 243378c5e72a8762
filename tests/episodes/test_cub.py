"""CUB-200-2011: its split tables against the rules behind them, its reader against its layout."""

import hashlib
import io
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from episodes import manifest, readers
from episodes.errors import EpisodesError
from episodes.readers import Record
from tests.episodes.layouts import Images, small
from tests.episodes.layouts.cub import write_archive
from tests.episodes.layouts.making import add, encoded, picture

FACTS = manifest.load("cub")
ALBATROSS = "001.Black_footed_Albatross"


def write_small(folder: Path) -> Images:
    """With twins among the images."""
    return write_archive(folder, replace(small(FACTS, "archive"), twins=FACTS.twins))


def read(folder: Path, boxes: bool = False) -> list[Record]:
    source = FACTS.sources[0]
    return list(readers.reader_of(source)(FACTS, source, folder, boxes))


def write_tgz(folder: Path, files: dict[str, bytes | str]) -> Path:
    with tarfile.open(folder / "CUB_200_2011.tgz", "w:gz") as tar:
        for name, content in files.items():
            add(tar, f"CUB_200_2011/{name}", content)
    return folder


def ids(scheme: str, part: str) -> set[int]:
    """Class ids as CUB's own lists have them: from 1."""
    return {1 + index for index in FACTS.schemes[scheme].classes[part]}


def test_classes_are_the_numbered_folders_in_order() -> None:
    numbers = [int(name[:3]) for name in FACTS.class_names]
    assert numbers == list(range(1, 201))
    assert FACTS.class_names[0] == ALBATROSS
    assert FACTS.class_names[-1] == "200.Common_Yellowthroat"


def test_counts_are_the_published_ones() -> None:
    counts = [count or 0 for count in FACTS.class_images]
    assert (sum(counts), min(counts), max(counts), counts.count(60)) == (11788, 41, 60, 144)
    for scheme in FACTS.schemes.values():
        sums = {part: sum(counts[c] for c in rows) for part, rows in scheme.classes.items()}
        assert scheme.images == sums, scheme.name


def test_rule_schemes_are_their_rules() -> None:
    everything = range(1, 201)
    rules = {
        "closerlook": lambda i: ("train", "val", "train", "test")[(i - 1) % 4],
        "frn": lambda i: ("train", "val", "train", "test")[i % 4],
        "bi-frn": lambda i: "test" if i % 4 == 3 else "train" if i % 2 == 0 or i <= 117 else "val",
    }
    for scheme, rule in rules.items():
        for part in manifest.PARTS:
            assert ids(scheme, part) == {i for i in everything if rule(i) == part}, scheme


def test_our_own_split_can_be_redone_in_one_line() -> None:
    full = [name for name, n in zip(FACTS.class_names, FACTS.class_images, strict=True) if n == 60]
    order = sorted(full, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    expected = {"train": order[:64], "val": order[64:80], "test": order[80:100]}
    for part, names in expected.items():
        rows = FACTS.schemes["episodes-64-16-20"].classes[part]
        assert {FACTS.class_names[row] for row in rows} == set(names)


def test_schemes_leak_into_each_other_as_published() -> None:
    assert ids("closerlook", "test") <= ids("frn", "train")
    assert ids("frn", "test") <= ids("closerlook", "train")
    assert ids("bi-frn", "test") == ids("frn", "test")
    assert len(ids("closerlook", "test") & ids("feat", "train")) == 24


def test_twins_fall_into_the_splits_as_published() -> None:
    assert FACTS.twins is not None and FACTS.twins.dataset == "imagenet"
    assert len(FACTS.twins.images) == len(set(FACTS.twins.images.values())) == 43
    numbers = [int(name[:3]) for name in FACTS.twins.images]
    for scheme, expected in {
        "meta-dataset": (35, 8, 0),
        "closerlook": (16, 19, 8),
        "frn": (27, 8, 8),
        "feat": (21, 16, 6),
        "dn4": (42, 0, 1),
    }.items():
        found = [sum(n in ids(scheme, part) for n in numbers) for part in manifest.PARTS]
        assert tuple(found) == expected, scheme
    for here, there in FACTS.twins.images.items():
        class_name, file = here.split("/")
        assert class_name in FACTS.class_names
        assert file.lower().startswith(class_name[4:].lower() + "_")
        wnid, name = there.split("/")
        assert name.startswith(f"{wnid}_") and name.endswith(".JPEG")


@pytest.mark.parametrize("packed", [True, False])
def test_reads_every_image_and_nothing_else(tmp_path: Path, packed: bool) -> None:
    images = write_small(tmp_path)
    if not packed:
        with tarfile.open(tmp_path / "CUB_200_2011.tgz") as tar:
            tar.extractall(tmp_path, filter="data")
        (tmp_path / "CUB_200_2011.tgz").unlink()
    records = read(tmp_path)
    assert {(r.class_name, r.image_id): r.image for r in records} == images
    assert len(records) == len(images)
    assert all(record.box is None for record in records)


def test_archive_is_read_in_its_own_order(tmp_path: Path) -> None:
    write_small(tmp_path)
    with tarfile.open(tmp_path / "CUB_200_2011.tgz") as tar:
        names = [Path(name) for name in tar.getnames() if name.endswith(".jpg")]
    found = [(record.class_name, record.image_id) for record in read(tmp_path)]
    assert found == [(name.parent.name, name.name) for name in names]
    assert found != sorted(found)


def test_boxes_are_those_of_the_list(tmp_path: Path) -> None:
    write_small(tmp_path)
    expected = boxes_in(tmp_path / "CUB_200_2011.tgz")
    records = read(tmp_path, boxes=True)
    assert {f"{r.class_name}/{r.image_id}": r.box for r in records} == expected


def boxes_in(archive: Path) -> dict[str, tuple[int, ...]]:
    """The list's boxes as (left, upper, right, lower), by a reading of its own."""
    with tarfile.open(archive) as tar:
        names, boxes = (
            np.loadtxt(io.BytesIO(tar.extractfile(f"CUB_200_2011/{name}").read()), dtype=str)
            for name in ("images.txt", "bounding_boxes.txt")
        )
    assert (names[:, 0] == boxes[:, 0]).all()
    corners = boxes[:, 1:].astype(float).astype(int)
    corners[:, 2:] += corners[:, :2]
    return {name: tuple(row) for name, row in zip(names[:, 1], corners.tolist(), strict=True)}


def test_edges_are_rounded_as_pillow_crops(tmp_path: Path) -> None:
    image = picture(3, 20, 16)
    edges = (1.5, 2.4, 7.2, 9.3)
    write_tgz(
        tmp_path,
        {
            "images.txt": f"1 {ALBATROSS}/a.jpg\n\n",
            "bounding_boxes.txt": "1 " + " ".join(map(str, edges)) + "\n",
            f"images/{ALBATROSS}/a.jpg": encoded(image),
        },
    )
    x, y, width, height = edges
    (record,) = read(tmp_path, boxes=True)
    cropped = image.crop((x, y, x + width, y + height))  # type: ignore[arg-type]
    assert np.array_equal(np.asarray(image.crop(record.box)), np.asarray(cropped))


def test_hidden_and_foreign_files_are_passed_over(tmp_path: Path) -> None:
    jpeg = encoded(picture(1))
    write_tgz(
        tmp_path,
        {
            f"images/{ALBATROSS}/._a.jpg": b"resource fork",
            f"images/{ALBATROSS}/a.jpg": jpeg,
            f"images/{ALBATROSS}/Thumbs.db": b"",
            "images/readme.jpg": jpeg,
            f"segmentations/{ALBATROSS}/a.jpg": jpeg,
        },
    )
    assert [(r.class_name, r.image_id) for r in read(tmp_path)] == [(ALBATROSS, "a.jpg")]


@pytest.mark.parametrize(
    ("boxes", "complaint"),
    [
        ("1 2.0 3.0 4.0 5.0", "has no box for 001.Black_footed_Albatross/b.jpg"),
        ("1 2.0 3.0 4.0\n2 1 1 2 2", "bounding_boxes.txt, image 1: '2.0 3.0 4.0' is no box"),
        ("1 2.0 x 4.0 5.0\n2 1 1 2 2", "'2.0 x 4.0 5.0' is no box"),
        ("1 nan 0 4.0 5.0\n2 1 1 2 2", "'nan 0 4.0 5.0' is no box in an image"),
        ("1 1e308 0 1e308 5\n2 1 1 2 2", "'1e308 0 1e308 5' is no box in an image"),
        ("1 1 1 2 2\n1 1 1 2 3\n2 1 1 2 2", "bounding_boxes.txt, line 2: '1 1 1 2 3'"),
        ("1\n2 1 1 2 2", "bounding_boxes.txt, line 1: '1'"),
        (b"\xff\xfe1 1", "bounding_boxes.txt is not UTF-8 text"),
        ("", "has no box for"),
    ],
)
def test_damaged_boxes_are_told_in_one_line(
    tmp_path: Path, boxes: str | bytes, complaint: str
) -> None:
    write_tgz(
        tmp_path,
        {
            "images.txt": f"1 {ALBATROSS}/a.jpg\n2 {ALBATROSS}/b.jpg\n",
            f"images/{ALBATROSS}/a.jpg": b"a",
            f"images/{ALBATROSS}/b.jpg": b"b",
            "bounding_boxes.txt": boxes,
        },
    )
    assert len(read(tmp_path)) == 2
    with pytest.raises(EpisodesError) as caught:
        read(tmp_path, boxes=True)
    message = str(caught.value)
    assert "CUB_200_2011.tgz" in message and complaint in message and "\n" not in message
    assert "fetch it again" in message


def test_boxes_without_lists_are_refused(tmp_path: Path) -> None:
    write_tgz(tmp_path, {f"images/{ALBATROSS}/a.jpg": b"a"})
    with pytest.raises(EpisodesError, match="leave --crop box out"):
        read(tmp_path, boxes=True)


def test_missing_archive_says_what_to_fetch(tmp_path: Path) -> None:
    with pytest.raises(
        EpisodesError, match=r"neither CUB_200_2011\.tgz nor .*fetch https://data\.caltech\.edu/"
    ):
        read(tmp_path)


@pytest.mark.real_data
def test_genuine_part_is_read_whole(archives: Path) -> None:
    folder = archives / "cub-part"
    records = read(folder, boxes=True)
    boxes = boxes_in(folder / "CUB_200_2011.tgz")
    assert len(records) == 200
    assert {record.class_name for record in records} == set(FACTS.class_names[:10])
    assert {f"{r.class_name}/{r.image_id}": r.box for r in records} == boxes
    modes = set()
    for record in records:
        with Image.open(io.BytesIO(record.image)) as image:
            modes.add(image.mode)
            left, upper, right, lower = record.box
            assert 0 <= left < right <= image.width and 0 <= upper < lower <= image.height
            image.load()
    assert "L" in modes
    assert [record.image for record in read(folder)] == [record.image for record in records]


@pytest.mark.real_data
def test_genuine_part_has_its_twins(archives: Path) -> None:
    found = {f"{r.class_name}/{r.image_id}" for r in read(archives / "cub-part")}
    assert f"{ALBATROSS}/Black_Footed_Albatross_0002_55.jpg" in found & set(FACTS.twins.images)
