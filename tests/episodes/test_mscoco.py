"""MSCOCO: its cut-outs against boxes by hand, its reader against its layout and against damage."""

import io
import json
import zipfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from episodes import manifest, readers
from episodes.errors import EpisodesError
from episodes.prepare import prepare
from episodes.readers import Record
from episodes.readers.coco import enlarged_box, read_objects
from tests.episodes.layouts import small
from tests.episodes.layouts.coco import ANNOTATIONS, ARCHIVE, INSTANCES, write_archives
from tests.episodes.layouts.making import encoded, picture

FACTS = manifest.load("mscoco")
CATEGORIES = [{"id": 1, "name": "person"}, {"id": 90, "name": "toothbrush"}]


def instance(id: int, photograph: int, box: object, category: int = 1) -> dict[str, Any]:
    return {"id": id, "image_id": photograph, "category_id": category, "bbox": box, "iscrowd": 0}


def write(
    folder: Path, annotations: list[Any], photographs: dict[int, bytes], **others: object
) -> Path:
    content = {"categories": CATEGORIES, "annotations": annotations} | others
    with zipfile.ZipFile(folder / ANNOTATIONS, "w") as archive:
        archive.writestr(f"annotations/{INSTANCES}", json.dumps(content))
    with zipfile.ZipFile(folder / ARCHIVE, "w") as archive:
        for number, photograph in photographs.items():
            archive.writestr(f"train2017/{number:012d}.jpg", photograph)
    return folder


def read(folder: Path) -> list[Record]:
    source = FACTS.sources[0]
    return list(readers.reader_of(source)(FACTS, source, folder, False))


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        # 10 x 20 at (30, 40): 12 x 24 at (29, 38), edges 28.5, 37.5 (to even) and 40.5, 61.5 + 1.
        ((30, 40, 10, 20), (28, 38, 41, 63)),
        # 5 x 5 at (10.25, 10.75): 6 x 6 at (9.75, 10.25).
        ((10.25, 10.75, 5, 5), (9, 10, 16, 17)),
        # All of it and more: ends at the edges.
        ((-20, -20, 200, 200), (0, 0, 100, 80)),
        # No wider than a line: one column is left; edges 8.5 and 20.5 (to even) + 1.
        ((50, 10, 0, 10), (50, 8, 51, 21)),
        # Beyond an edge: nothing is left.
        ((110, 10, 5, 5), None),
        ((10, -30, 5, 5), None),
    ],
)
def test_boxes_by_hand(box: tuple[float, ...], expected: tuple[int, ...] | None) -> None:
    assert enlarged_box(list(box), 100, 80) == expected


@given(
    box=st.tuples(*[st.integers(-2000, 8000)] * 2, *[st.integers(0, 8000)] * 2),
    size=st.tuples(st.integers(1, 70), st.integers(1, 70)),
)
def test_boxes_are_the_exact_ones_wherever_no_edge_is_halfway(
    box: tuple[int, int, int, int], size: tuple[int, int]
) -> None:
    """By exact fractions, about the centre, of boxes in hundredths of a pixel as COCO has them."""
    x, y, width, height = (Fraction(number, 100) for number in box)
    found = enlarged_box([number / 100 for number in box], *size)
    edges = []
    for start, length, end in ((x, width, size[0]), (y, height, size[1])):
        centre, half = start + length / 2, length * Fraction(6, 10)
        low, high = centre - half - Fraction(1, 2), centre + half - Fraction(1, 2)
        if Fraction(1, 2) in (low % 1, high % 1):
            return
        edges.append((max(round(low), 0), min(round(high) + 1, end)))
    (left, right), (upper, lower) = edges
    inside = left < right and upper < lower
    assert found == ((left, upper, right, lower) if inside else None)


def test_every_object_is_cut_out_of_its_photograph(tmp_path: Path) -> None:
    photographs = {5: encoded(picture(5, 40, 30)), 700000000001: encoded(picture(6, 40, 30, "L"))}
    write(
        tmp_path,
        [
            instance(9, 700000000001, [0, 0, 40, 30], 90),
            instance(900100000003, 5, [10, 10, 10, 10]) | {"iscrowd": 1},
            instance(8, 5, [-9, -9, 2, 2]),
            instance(7, 5, [10, 10, 10, 10], 90),
        ],
        photographs,
    )
    first, second, third = read(tmp_path)
    assert [(r.class_name, r.image_id) for r in (first, second, third)] == [
        ("person", "000000000005_900100000003"),
        ("toothbrush", "000000000005_7"),
        ("toothbrush", "700000000001_9"),
    ]
    whole = np.asarray(Image.open(io.BytesIO(photographs[5])))
    for record in (first, second):
        assert isinstance(record.image, np.ndarray)
        np.testing.assert_array_equal(record.image, whole[8:21, 8:21])
    assert third.image.shape == (30, 40, 3)


def test_objects_are_in_order_of_photographs_then_of_annotations(tmp_path: Path) -> None:
    write(tmp_path, [instance(i, i % 3, [i, 1, 2, 3.5]) for i in (8, 7, 6, 5, 4, 3)], {})
    objects = read_objects(tmp_path / ANNOTATIONS)
    assert objects.photographs.tolist() == [0, 0, 1, 1, 2, 2]
    assert objects.ids.tolist() == [6, 3, 7, 4, 8, 5]
    assert objects.boxes.tolist() == [[i, 1, 2, 3.5] for i in (6, 3, 7, 4, 8, 5)]
    assert [list(objects.of(number)) for number in range(4)] == [[0, 1], [2, 3], [4, 5], []]


def test_a_photograph_that_does_not_decode_counts_once_for_each_object(tmp_path: Path) -> None:
    facts = small(FACTS, "archives")
    images = write_archives(tmp_path, facts)
    photograph = max(image_id.split("_")[0] for _, image_id in images)
    with zipfile.ZipFile(tmp_path / ARCHIVE) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(tmp_path / ARCHIVE, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, b"\xff\xd8 no" if photograph in name else content)
    with pytest.raises(EpisodesError, match=f"{photograph}_.* does not decode.*--skip-corrupt"):
        prepare(facts, tmp_path, home=tmp_path / "home", threads=1)
    store = prepare(facts, tmp_path, home=tmp_path / "home", threads=1, skip_corrupt=True)
    lost = sorted(key for key in images if key[1].startswith(photograph))
    assert sorted((entry["class"], entry["id"]) for entry in store.info.skipped) == lost != []
    assert store.info.rows == len(images) - len(lost)


def test_original_stores_keep_the_cut_outs_whole(tmp_path: Path) -> None:
    facts = small(FACTS, "archives")
    images = write_archives(tmp_path, facts)
    store = prepare(facts, tmp_path, home=tmp_path / "home", threads=1, encoding="original")
    names = np.repeat(store.class_names, store.class_sizes)
    for row in range(0, store.info.rows, 9):
        expected = images[str(names[row]), store.ids(np.array([row]))[0]]
        np.testing.assert_array_equal(store.image(row), expected)


@pytest.mark.parametrize(
    ("annotations", "complaint"),
    [
        ([instance(1, 5, [1, 2, 3])], "[1, 2, 3] is no box in an image"),
        ([instance(1, 5, [1, 2, 3, "4"])], "is no box in an image"),
        ([instance(1, 5, [1, 2, 3, float("nan")])], "is no box in an image"),
        ([instance(1, 5, [1, 2, 3, 1e300])], "is no box in an image"),
        ([instance(1, 5, {})], "has no bbox as it should"),
        ([instance(1, 1 << 64, [1, 2, 3, 4])], "has no image_id as it should"),
        ([instance(1, 5, [1, 2, 3, 4], category=12)], "objects of category 12, which it does not"),
    ],
)
def test_damaged_annotations_are_told_in_one_line(
    tmp_path: Path, annotations: list[Any], complaint: str
) -> None:
    write(tmp_path, annotations, {5: encoded(picture(5))})
    with pytest.raises(EpisodesError) as caught:
        read(tmp_path)
    message = str(caught.value)
    assert complaint in message and f"{ANNOTATIONS}: {INSTANCES}" in message
    assert "fetch it again" in message and "\n" not in message


def test_annotations_of_another_task_alone_are_refused(tmp_path: Path) -> None:
    write(tmp_path, [], {})
    with zipfile.ZipFile(tmp_path / ANNOTATIONS, "w") as archive:
        archive.writestr("annotations/instances_val2017.json", "{}")
    with pytest.raises(EpisodesError, match=f"has no {INSTANCES}: fetch it again"):
        read(tmp_path)
