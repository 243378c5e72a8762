from pathlib import Path
from typing import Any

import numpy as np
import pytest

from episodes.errors import EpisodesError, UsageError
from episodes.own import from_arrays
from episodes.own.facts import check_name
from episodes.store import Store

LABELS = [10, 2, 10, 1, 2, 10]


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape).integers(0, 256, shape, np.uint8)


def test_images_of_one_size_keep_it(tmp_path: Path) -> None:
    images = noise(6, 9, 9, 3)
    store = from_arrays(images, LABELS, name="mine", home=tmp_path, train=["10", "2"], test=["1"])
    assert store.name == "mine" and store.image_shape == (9, 9, 3)
    assert store.class_names == ("1", "2", "10")
    assert store.ids(np.arange(6)) == ["3", "1", "4", "0", "2", "5"]
    np.testing.assert_array_equal(store.images(np.arange(6)), images[[3, 1, 4, 0, 2, 5]])
    assert store.info.splits == {"own": {"train": (1, 2), "val": (), "test": (0,)}}
    episode = store.stream("train", way=2, shot=1, query=1)[0]
    assert episode.support_images.shape == (2, 9, 9, 3)
    store.verify(deep=True)


@pytest.mark.parametrize("shape", [(6, 8, 8), (6, 8, 8, 1)])
def test_grey_images_stay_grey(tmp_path: Path, shape: tuple[int, ...]) -> None:
    images = noise(*shape)
    store = from_arrays(images, np.array(list("abcabc")), name="grey", home=tmp_path)
    assert store.image_shape == (8, 8, 1)
    expected = images.reshape(6, 8, 8, 1)[[0, 3, 1, 4, 2, 5]]
    np.testing.assert_array_equal(store.images(np.arange(6)), expected)


def test_images_of_differing_sizes(tmp_path: Path) -> None:
    images = [noise(5 + number, 8, 3) for number in range(4)] + [noise(6, 6)]
    labels = ["a", "b", "a", "b", "a"]
    with pytest.raises(UsageError, match="give size=84"):
        from_arrays(images, labels, name="mixed", home=tmp_path)
    with pytest.raises(UsageError, match="give size=84"):
        from_arrays(noise(2, 4, 6), [0, 1], name="oblong", home=tmp_path)
    kept = from_arrays(images, labels, name="mixed", home=tmp_path, encoding="original")
    np.testing.assert_array_equal(kept.image(1), images[2])
    np.testing.assert_array_equal(kept.image(2), np.repeat(images[4][..., np.newaxis], 3, 2))
    sized = from_arrays(images, labels, name="mixed", home=tmp_path, size=8)
    np.testing.assert_array_equal(sized.images(np.array([4]))[0], images[3])


def test_other_pixels_under_the_same_name_are_not_taken_for_these(tmp_path: Path) -> None:
    images = noise(6, 9, 9)
    first = from_arrays(images, LABELS, name="mine", home=tmp_path)
    assert from_arrays(images, LABELS, name="mine", home=tmp_path).digest == first.digest
    images[0, 0, 0] ^= 1
    with pytest.raises(EpisodesError, match=r"\(other images under the same names\): add --force"):
        from_arrays(images, LABELS, name="mine", home=tmp_path)
    assert (
        from_arrays(images, LABELS, name="mine", home=tmp_path, force=True).digest != first.digest
    )
    out = from_arrays(images, LABELS, name="mine", out=tmp_path / "there")
    assert out.path == tmp_path / "there" and Store(out.path).name == "there"


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (noise(2, 4, 4) / 255, [0, 1], r"images\[0\] is float64 \[4, 4\].*astype\('uint8'\)"),
        (noise(2, 4, 4).astype(np.int64), [0, 1], r"int64 \[4, 4\]; expected uint8"),
        (noise(2, 3, 5, 5), [0, 1], "expected the channels last"),
        (noise(2, 5, 5, 4), [0, 1], "with 1 or 3 channels"),
        (noise(2, 5), [0, 1], r"uint8 \[2, 5\]; expected \[N, H, W\]"),
        ([noise(5, 5), [[1]]], [0, 1], r"images\[1\] is a list; expected a uint8 array"),
        ([noise(0, 5)], [0], r"uint8 \[0, 5\]; expected"),
        (noise(2, 5, 5), [0], "2 images have 1 labels"),
        (noise(2, 5, 5), [0.5, 1.5], "expected .N. of integers or strings"),
        (noise(2, 5, 5), [[0], [1, 2]], "lists of differing lengths"),
        (noise(2, 5, 5), [[0], [1]], r"labels are int64 \[2, 1\]"),
        (noise(2, 5, 5), [True, False], "labels are bool"),
        (noise(2, 5, 5), np.array(["a", None], object), r"labels\[1\] is None"),
        (noise(2, 5, 5), ["a", ""], r"labels\[1\]: the class name is empty"),
        ([], [], "arrays in memory holds no images"),
    ],
)
def test_what_cannot_be_taken_is_told(
    tmp_path: Path, images: Any, labels: Any, message: str
) -> None:
    with pytest.raises(EpisodesError, match=message):
        from_arrays(images, labels, name="mine", home=tmp_path)
    assert not any(tmp_path.iterdir())


def test_plain_names_are_taken() -> None:
    for name in ("flowers", "Blumen_2", "\u82b1", "v1.0+x"):
        assert check_name(name) == name
