"""Datasets of the `datasets` library: from the Hugging Face Hub, from its cache, or from files."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from episodes.download import is_offline
from episodes.errors import EpisodesError, UsageError, unknown_name
from episodes.own.collection import (
    Collection,
    Item,
    mark_of,
    mark_of_bytes,
    name_of_class,
    read_file,
)

if TYPE_CHECKING:
    from datasets import Dataset

ROWS_AT_ONCE = 1024
SAVED = ("dataset_info.json", "dataset_dict.json")
BINARY = ("binary", "large_binary")
INTEGERS = tuple(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))
LABELS = ("string", "large_string", *INTEGERS)


def images_in_hub(
    repository: str,
    image_column: str = "image",
    label_column: str = "label",
    *,
    split: str = "train",
    config: str | None = None,
    revision: str | None = None,
    offline: bool = False,
) -> Collection:
    """The images of a dataset on the Hub, or of a local folder or parquet file.

    `split` is one of the dataset's own, or several with "+" between. Raises UsageError with what
    there is for a column or split that there is not, and EpisodesError for a dataset that cannot be
    loaded.
    """
    local = os.path.exists(repository)
    if not local and repository.startswith((".", "/", "~")):
        raise UsageError(f"{repository} is not there; expected a dataset's folder or .parquet file")
    offline = offline or is_offline()
    try:
        with _without_network() if offline else nullcontext():
            dataset = _loaded(repository, split, config, revision)
    except EpisodesError:
        raise
    except Exception as error:  # `datasets` has no common class for what it raises
        raise EpisodesError(_why_not(repository, local, offline, error)) from None
    origin = f"https://huggingface.co/datasets/{repository}"
    if revision:
        origin += f"/tree/{revision}"
    if local:
        origin = f"the dataset {Path(repository).resolve().name}"
    return images_in_dataset(dataset, image_column, label_column, origin)


def images_in_dataset(
    dataset: "Dataset", image_column: str, label_column: str, origin: str = "the dataset"
) -> Collection:
    """The images of a `datasets.Dataset`, as the files that it holds; an image's id is its row.

    Raises UsageError for columns that are not there or hold something else.
    """
    import datasets

    if not isinstance(dataset, datasets.Dataset):
        raise UsageError(
            f"{origin} is a {type(dataset).__name__}; expected a datasets.Dataset, "
            'such as the dictionary\'s ["train"]'
        )
    for column in (image_column, label_column):
        if column not in dataset.column_names:
            raise UsageError(f"{origin}: {unknown_name('column', column, dataset.column_names)}")
    if not _holds_files(feature := dataset.features[image_column]):
        raise UsageError(
            f"{origin}: the column {image_column!r} is {_kind(feature)}; expected images"
        )
    files = dataset.select_columns([image_column]).cast_column(
        image_column, datasets.Image(decode=False)
    )

    def read(row: int) -> bytes:
        image = files[row][image_column] or {"bytes": None, "path": None}
        if image["bytes"] is None and image["path"]:
            return read_file(image["path"])
        return bytes(image["bytes"] or b"")  # no image at all is one that does not decode

    labels = _labels(dataset, label_column, origin)
    items = (
        Item(name, str(row), row, mark)
        for row, (name, mark) in enumerate(zip(labels, _marks(files, image_column), strict=True))
    )
    return Collection("hf", origin, tuple(items), read)


def _loaded(repository: str, split: str, config: str | None, revision: str | None) -> "Dataset":
    import datasets

    path = Path(repository)
    if path.is_file():
        if path.suffix != ".parquet":
            raise UsageError(f"{path} is no .parquet file; expected one, or a dataset's folder")
        return datasets.load_dataset("parquet", data_files=[str(path)], split=split)
    if not any((path / name).is_file() for name in SAVED):
        return datasets.load_dataset(repository, config, split=split, revision=revision)
    saved = datasets.load_from_disk(repository)
    if isinstance(saved, datasets.Dataset):
        return saved
    for name in split.split("+"):
        if name not in saved:
            raise unknown_name(f"split of {path}", name, saved)
    return datasets.concatenate_datasets([saved[name] for name in split.split("+")])


def _holds_files(feature: Any) -> bool:
    """Whether a column has images, or the bytes of image files."""
    import datasets

    if isinstance(feature, dict):
        return {"bytes"} <= feature.keys() <= {"bytes", "path"}
    return isinstance(feature, datasets.Image) or _kind(feature) in BINARY


def _kind(feature: Any) -> str:
    """The type of a plain column, such as "int64", or what another one holds, such as "Image"."""
    import datasets

    return feature.dtype if isinstance(feature, datasets.Value) else type(feature).__name__


def _labels(dataset: "Dataset", column: str, origin: str) -> Iterator[str]:
    import datasets

    feature = dataset.features[column]
    names = feature.names if isinstance(feature, datasets.ClassLabel) else None
    if names is None and _kind(feature) not in LABELS:
        raise UsageError(
            f"{origin}: the column {column!r} is {_kind(feature)}; "
            "expected class labels, text or integers"
        )
    row = 0
    for batch in dataset.select_columns([column]).with_format(None).iter(ROWS_AT_ONCE):
        for label in batch[column]:
            if label is None or (names is not None and not 0 <= label < len(names)):
                raise EpisodesError(
                    f"{origin}: row {row} has the label {label} in {column!r}; expected a class"
                )
            name = names[label] if names is not None else str(label)
            yield name_of_class(name, f"{origin}, row {row}")
            row += 1


def _marks(files: "Dataset", column: str) -> Iterator[str]:
    """A hash of each image file; "" for a row without one."""
    for table in files.with_format("arrow").iter(ROWS_AT_ONCE):
        for image in table[column].to_pylist():
            data, path = (image or {}).get("bytes"), (image or {}).get("path")
            if data is not None:
                yield mark_of_bytes(data)
            else:
                yield mark_of(Path(path)) if path and os.path.isfile(path) else ""


@contextmanager
def _without_network() -> Iterator[None]:
    """`datasets` has its cache only: what HF_HUB_OFFLINE does, which is read once at import."""
    import datasets
    import huggingface_hub

    places: tuple[Any, ...] = (datasets.config, huggingface_hub.constants)
    before = [place.HF_HUB_OFFLINE for place in places]
    try:
        for place in places:
            place.HF_HUB_OFFLINE = True
        yield
    finally:
        for place, value in zip(places, before, strict=True):
            place.HF_HUB_OFFLINE = value


def _why_not(repository: str, local: bool, offline: bool, error: Exception) -> str:
    reason = " ".join(str(error).split()) or type(error).__name__
    if local:
        return f"{repository} cannot be loaded as a dataset: {reason}"
    if offline and isinstance(error, ConnectionError):
        return (
            f"offline, and hf:{repository} is not in the cache of Hugging Face: "
            "prepare it once with the network, or give hf: a folder or .parquet file"
        )
    return f"hf:{repository} cannot be loaded: {reason}"
