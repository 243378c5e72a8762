"""A store as a Hugging Face dataset: image, label and id of every row."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from episodes import images, places
from episodes.errors import EpisodesError
from episodes.manifest import PARTS
from episodes.store import Store

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

ALL = "all"
ORIENTATION = 0x0112


def to_hf(
    store: Store, split: str | None = None, *, cache_dir: Path | None = None
) -> "Dataset | DatasetDict":
    """The images of `split` ([SCHEME.]PART, or "all") as a `datasets.Dataset`.

    Without a split, a `datasets.DatasetDict` of the parts (train, val, test) of the default scheme
    that have classes. A row has `image` (decoded as the store decodes it), `label`, which is the
    class id in the store and named by its class names, and `id`, the image's id in the source. The
    image files are written once, as Arrow tables, below `cache_dir` (default: `hf/` in the home of
    the stores). Raises UsageError for an unknown split, EpisodesError for a damaged store.
    """
    import datasets

    if split is not None:
        return _dataset(store, split, cache_dir)
    parts = [part for part in PARTS if len(store.split_classes(part))]
    return datasets.DatasetDict({part: _dataset(store, part, cache_dir) for part in parts})


def rows(store: Store, class_ids: np.ndarray) -> Iterator[dict[str, Any]]:
    """The rows of some classes, an image file at a time."""
    for class_id in class_ids:
        start = store.class_starts[class_id]
        numbers = np.arange(start, start + store.class_sizes[class_id])
        for row, image_id in zip(numbers, store.ids(numbers), strict=True):
            image = {"bytes": _file(store, int(row)), "path": None}
            yield {"image": image, "label": int(class_id), "id": image_id}


def _dataset(store: Store, split: str, cache_dir: Path | None) -> "Dataset":
    import datasets

    # `datasets` calls what is not split "train", and takes "all" for a union of splits.
    part = "train" if split == ALL else split.rpartition(".")[2]
    every = np.arange(len(store.class_names))
    features = {
        "image": datasets.Image(mode=images.MODES[store.channels]),
        "label": datasets.ClassLabel(names=list(store.class_names)),
        "id": datasets.Value("string"),
    }
    try:
        return datasets.Dataset.from_generator(
            rows,
            features=datasets.Features(features),
            cache_dir=str(cache_dir or places.home() / "hf"),
            gen_kwargs={
                "store": store,
                "class_ids": every if split == ALL else store.split_classes(split),
            },
            split=datasets.NamedSplit(part),
        )
    except datasets.exceptions.DatasetGenerationError as error:
        if isinstance(error.__cause__, EpisodesError):
            raise error.__cause__ from None
        raise


def _file(store: Store, row: int) -> bytes:
    """An image file that `datasets` decodes to the store's pixels: its own where that is so."""
    if not store.is_view and not store.info.keeps_pixels:
        encoded = store.encoded(row)
        if _decodes_alike(encoded):
            return encoded
    pixels = store.images(np.array([row]))[0] if store.is_view else store.image(row)
    return images.encode_png(pixels)


def _decodes_alike(encoded: bytes) -> bool:
    """Whether `datasets`, which turns by EXIF and clips 16 bits, decodes the file as we do."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(encoded)) as image:
            turned = image.getexif().get(ORIENTATION, 1) != 1
            return not turned and image.mode not in images.SIXTEEN_BIT_MODES
    except (OSError, SyntaxError, ValueError):
        return False
