"""Stores as Hugging Face datasets: the same pixels, labels and ids, from every format and back."""

import io
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from episodes.errors import EpisodesError, UsageError
from episodes.own import from_hf
from episodes.store import Store
from episodes.to_hf import to_hf
from tests.episodes.made_stores import FORMATS, encoded, encoded_all, make_store, random_images

SPLITS = {
    "halves": {"train": (0, 3), "val": (), "test": (4, 1)},
    "other": {"train": (1,), "val": (2,), "test": (0,)},
}


@pytest.fixture(autouse=True, scope="module")
def quiet() -> None:
    datasets.disable_progress_bars()


def made(folder: Path, container: str = "hdf5", encoding: str = "raw", channels: int = 3) -> Store:
    images = random_images(channels=channels)
    given = encoded_all(images) if encoding == "original" else images
    return make_store(folder, given, container, encoding, splits=SPLITS, default_scheme="halves")


def check(dataset: datasets.Dataset, store: Store, class_ids: list[int]) -> None:
    """Row by row what the store has of these classes."""
    rows = [
        row
        for class_id in class_ids
        for row in range(
            store.class_starts[class_id], store.class_starts[class_id] + store.class_sizes[class_id]
        )
    ]
    assert dataset["id"][:] == store.ids(np.array(rows))
    assert dataset["label"][:] == [
        int(np.searchsorted(store.class_starts, row, side="right")) - 1 for row in rows
    ]
    for position, row in enumerate(rows):
        found = np.asarray(dataset[position]["image"])
        np.testing.assert_array_equal(found.reshape(store.image(row).shape), store.image(row))


@pytest.mark.parametrize(("container", "encoding"), FORMATS)
def test_every_format_gives_its_rows(tmp_path: Path, container: str, encoding: str) -> None:
    store = made(tmp_path / "store", container, encoding)
    everything = to_hf(store, "all", cache_dir=tmp_path / "hf")
    assert isinstance(everything, datasets.Dataset)
    check(everything, store, [0, 1, 2, 3, 4])
    label = everything.features["label"]
    assert label.names == list(store.class_names)
    assert label.int2str(everything[3]["label"]) == "bée/nest"


def test_without_a_split_it_is_the_parts_that_have_classes(tmp_path: Path) -> None:
    store = made(tmp_path / "store", channels=1)
    parts = to_hf(store)
    assert isinstance(parts, datasets.DatasetDict) and list(parts) == ["train", "test"]
    check(parts["train"], store, [0, 3])
    check(parts["test"], store, [1, 4])
    assert parts["train"][0]["image"].mode == "L"
    assert str(parts["test"].split) == "test"


def test_a_split_is_one_dataset_and_is_written_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EPISODES_HOME", str(tmp_path / "home"))
    store = made(tmp_path / "store")
    first = to_hf(store, "other.val")
    check(first, store, [2])
    assert Path(first.cache_files[0]["filename"]).is_relative_to(tmp_path / "home" / "hf")
    assert to_hf(Store(store.path), "other.val").cache_files == first.cache_files
    with pytest.raises(UsageError, match="unknown split"):
        to_hf(store, "other.vla")


def test_images_of_their_own_sizes_and_kinds_decode_as_the_store_decodes_them(
    tmp_path: Path,
) -> None:
    generator = np.random.default_rng(0)

    def saved(image: Image.Image, kind: str, **options: object) -> bytes:
        image.save(buffer := io.BytesIO(), kind, **options)
        return buffer.getvalue()

    noise = Image.fromarray(generator.integers(0, 256, (9, 14, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter, which the field ignores
    deep = Image.fromarray(generator.integers(0, 1 << 16, (5, 7), np.uint16))
    files = {
        "plain.jpg": saved(noise, "JPEG"),
        "grey.jpg": saved(noise.convert("L"), "JPEG"),
        "cmyk.jpg": saved(noise.convert("CMYK"), "JPEG"),
        "palette.png": saved(noise.convert("P"), "PNG"),
        "alpha.png": saved(noise.convert("RGBA"), "PNG"),
        "turned.jpg": saved(noise, "JPEG", exif=exif),
        "deep.png": saved(deep, "PNG"),
    }
    store = make_store(tmp_path / "store", {"all": files}, encoding="original")
    dataset = to_hf(store, "train", cache_dir=tmp_path / "hf")
    check(dataset, store, [0])
    kept = dataset.cast_column("image", datasets.Image(decode=False))
    same = {row["id"] for row in kept if row["image"]["bytes"] == files[row["id"]]}
    assert same == set(files) - {"turned.jpg", "deep.png"}

    view = store.at_size(6)
    resized = to_hf(view, "train", cache_dir=tmp_path / "hf")
    for row in range(len(files)):
        expected = view.images(np.array([row]))[0]
        np.testing.assert_array_equal(np.asarray(resized[row]["image"]), expected)


def test_a_damaged_store_is_told_in_one_line(tmp_path: Path) -> None:
    image = encoded(np.zeros((4, 4, 3), np.uint8))
    store = make_store(tmp_path / "store", {"a": {"1.png": image}}, encoding="original")
    shard = store.path / store.info.shards[0].file
    shard.write_bytes(shard.read_bytes().replace(image, b"?" * len(image)))
    with pytest.raises(EpisodesError, match=r"does not decode.* a/1.png") as error:
        to_hf(Store(store.path), "all", cache_dir=tmp_path / "hf")
    assert "\n" not in str(error.value)


def test_there_and_back_again(tmp_path: Path) -> None:
    store = made(tmp_path / "store")
    dataset = to_hf(store, "all", cache_dir=tmp_path / "hf")
    back = from_hf(dataset, name="back", size=12, fractions=(0.6, 0.2, 0.2), home=tmp_path)
    assert sorted(back.class_names) == sorted(store.class_names)
    for class_id, name in enumerate(store.class_names):
        there = back.class_names.index(name)
        assert back.class_sizes[there] == store.class_sizes[class_id]
        np.testing.assert_array_equal(
            back.images(back.class_starts[there] + np.arange(back.class_sizes[there])),
            store.images(store.class_starts[class_id] + np.arange(store.class_sizes[class_id])),
        )
