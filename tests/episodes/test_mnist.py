"""MNIST's test images: its IDX files, whole and damaged."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from episodes import manifest
from episodes.errors import EpisodesError
from episodes.prepare import prepare
from tests.episodes.layouts import small
from tests.episodes.layouts.mnist import IMAGES, LABELS, idx, write_idx
from tests.episodes.layouts.reading import assert_same, read

FACTS = small(manifest.load("mnist"), "idx")


def test_every_image_is_read(tmp_path: Path) -> None:
    expected = write_idx(tmp_path, FACTS)
    assert len(expected) == FACTS.images == 19
    assert_same(read(FACTS, tmp_path), expected)


def test_the_counts_are_those_of_the_official_test_labels() -> None:
    shipped = manifest.load("mnist")
    assert shipped.class_images == (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009)
    assert shipped.images == 10_000
    assert shipped.class_names == tuple("0123456789")
    assert shipped.schemes["meta-dataset"].classes["test"] == tuple(range(10))


def test_it_comes_at_84_pixels_as_cnaps_makes_it(tmp_path: Path) -> None:
    from PIL import Image

    images = write_idx(tmp_path, FACTS)
    store = prepare(FACTS, tmp_path, home=tmp_path, size=84, threads=1)
    name = store.class_names[4]
    first = int(store.class_starts[4])
    drawing = Image.fromarray(np.asarray(images[name, store.ids(np.array([first]))[0]]))
    expected = np.asarray(drawing.resize((84, 84), Image.Resampling.LANCZOS))
    np.testing.assert_array_equal(store.images(np.array([first]))[0, ..., 0], expected)


def packed(kind: int, *dimensions: int, rows: int) -> bytes:
    return gzip.compress(idx(kind, *dimensions) + bytes(rows), mtime=0)


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        (IMAGES, b"<html></html>", "is no whole gzip file .*: fetch it again"),
        (IMAGES, packed(3, 2, 28, 28, rows=1568)[:-9], "is no whole gzip file"),
        (IMAGES, gzip.compress(b"", mtime=0), r"begins with \[\]; expected \[2051, 'n', 28, 28\]"),
        (IMAGES, packed(3, 2, 28, 27, rows=1512), r"begins with \[2051, 2, 28, 27\]; expected"),
        (IMAGES, packed(1, 2, rows=2), r"begins with \[2049, 2\]; expected \[2051, 'n', 28, 28\]"),
        (IMAGES, packed(3, 2, 28, 28, rows=1567), "has 1567 bytes of 2 entries; expected 1568"),
        (IMAGES, packed(3, 2, 28, 28, rows=1568), "has 19 labels of the 2 images in t10k-images"),
        (LABELS, packed(1, 18, rows=18), "has 18 labels of the 19 images"),
        (LABELS, packed(1, 19, rows=20), "has 20 bytes of 19 entries"),
        (
            LABELS,
            gzip.compress(idx(1, 19) + bytes([10] * 19), mtime=0),
            "has the label 10; expected 0 to 9",
        ),
        (LABELS, packed(3, 19, 1, 1, rows=19), r"begins with \[2051, 19\]; expected \[2049, 'n'\]"),
    ],
)
def test_a_file_of_something_else_is_named(
    tmp_path: Path, file: str, content: bytes, said: str
) -> None:
    write_idx(tmp_path, FACTS)
    (tmp_path / file).write_bytes(content)
    with pytest.raises(EpisodesError, match=f"^{tmp_path}/t10k-[^ ]* {said}"):
        read(FACTS, tmp_path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    write_idx(tmp_path, FACTS)
    (tmp_path / LABELS).unlink()
    with pytest.raises(EpisodesError, match=f"holds no {LABELS}: fetch https://.*/mnist/{LABELS}"):
        prepare(FACTS, tmp_path, home=tmp_path, threads=1)
