"""WebDataset stores as other libraries read them: the shards as they are, without this package."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from episodes.store import Store
from episodes.store.webdataset import suffix_of
from tests.episodes.made_stores import encoded, encoded_all, make_store, random_images

SUFFIXES = {"raw": "png", "original": "jpg"}


@pytest.fixture(params=["raw", "original"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    images = random_images()
    given = images if request.param == "raw" else encoded_all(images, "JPEG")
    return make_store(tmp_path / "made", given, "webdataset", request.param, shard_bytes=20_000)


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """`datasets`, with its caches in a folder of the test and no network."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    datasets.disable_progress_bars()
    yield datasets
    datasets.enable_progress_bars()


def tars(store: Store) -> list[str]:
    assert len(store.info.shards) > 1
    return [str(store.path / shard.file) for shard in store.info.shards]


def check(store: Store, samples: list[tuple[np.ndarray, int, dict[str, Any]]]) -> None:
    """The samples are the store's rows, one after the other."""
    rows = np.arange(store.info.rows)
    np.testing.assert_array_equal([image for image, _, _ in samples], store.images(rows))
    labels = np.repeat(np.arange(len(store.class_sizes)), store.class_sizes)
    assert [label for _, label, _ in samples] == list(labels)
    assert [facts for _, _, facts in samples] == [
        {"class": store.class_names[label], "id": image_id, "row": row}
        for row, (label, image_id) in enumerate(zip(labels, store.ids(rows), strict=True))
    ]


def test_the_webdataset_library_reads_the_shards(store: Store) -> None:
    import webdataset

    suffix = SUFFIXES[store.info.encoding]
    dataset = webdataset.WebDataset(tars(store), shardshuffle=False, empty_check=False)
    samples = [
        (np.asarray(image), label, facts)
        for image, label, facts in dataset.decode("pil").to_tuple(suffix, "cls", "json")
    ]
    check(store, samples)


def test_hugging_face_datasets_reads_the_shards(store: Store, tmp_path: Path, offline: Any) -> None:
    suffix = SUFFIXES[store.info.encoding]
    dataset = offline.load_dataset(
        "webdataset",
        data_files={"train": tars(store)},
        split="train",
    )
    samples = [(np.asarray(row[suffix]), int(row["cls"]), row["json"]) for row in dataset]
    check(store, samples)


def test_originals_of_several_kinds_are_one_column(tmp_path: Path, offline: Any) -> None:
    images = random_images()
    files = {
        name: {
            image_id: encoded(pixels, ("JPEG", "PNG")[index % 2])
            for index, (image_id, pixels) in enumerate(of_class.items())
        }
        for name, of_class in images.items()
    }
    store = make_store(tmp_path / "mixed", files, "webdataset", "original", shard_bytes=20_000)
    dataset = offline.load_dataset(
        "webdataset",
        data_files={"train": tars(store)},
        split="train",
        streaming=True,
    )
    check(store, [(np.asarray(row["jpg"]), int(row["cls"]), row["json"]) for row in dataset])


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [
        ("JPEG", "jpg"),
        ("PNG", "png"),
        ("BMP", "bmp"),
        ("GIF", "gif"),
        ("PPM", "ppm"),
        ("TIFF", "tif"),
        ("WEBP", "webp"),
        ("TGA", "img"),
    ],
)
def test_the_suffix_is_told_from_the_bytes(kind: str, suffix: str) -> None:
    assert suffix_of(encoded(np.zeros((4, 4, 3), np.uint8), kind)) == suffix
