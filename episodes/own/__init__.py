"""A user's own images as a store: class folders, a table, a `datasets` dataset, or arrays."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from episodes.store import Store

if TYPE_CHECKING:
    from datasets import Dataset

    from episodes.prepare.gathering import Progress

__all__ = ["Options", "from_arrays", "from_hf"]


class Options(TypedDict, total=False):
    """What can be asked for of every own dataset; see `episodes.own.preparing.prepare_own`."""

    train: Sequence[str]
    val: Sequence[str]
    test: Sequence[str]
    fractions: Sequence[float | str] | None
    split_seed: int | None
    split_file: Path | None
    size: int | None
    resize: str | None
    grey: bool
    rotations: bool
    container: str
    encoding: str
    skip_corrupt: bool
    licence: str
    out: Path | None
    home: Path | None
    force: bool
    shard_bytes: int
    threads: int | None
    progress: "Progress | None"


def from_arrays(images: Any, labels: Any, *, name: str, **options: Unpack[Options]) -> Store:
    """The store of `images` and `labels` as the dataset `name`, made unless it is there already.

    `images` are uint8 [N, H, W] or [N, H, W, C] with 1 or 3 channels, or a list of N such arrays of
    differing sizes; `labels` are N integers or strings, which name the classes. Square images of
    one size keep it unless `size` is given; others need it, or `encoding="original"`.

    The classes are split by the lists of their names `train`, `val` and `test`, or by `fractions`
    (such as (0.64, 0.16, 0.2), the default) and `split_seed` (1), or by `split_file`. `out` is the
    store's folder (default: `stores/NAME` under `home`); `force` replaces what is there; `resize`,
    `grey`, `rotations`, `container`, `encoding`, `licence`, `shard_bytes`, `threads` and `progress`
    are as for `episodes prepare`. Raises UsageError for other types and shapes, and EpisodesError
    where the store that is there was made of other images.
    """
    from episodes.own.arrays import images_in_arrays
    from episodes.own.preparing import prepare_own

    return prepare_own(images_in_arrays(images, labels), name=name, **options)


def from_hf(
    dataset: "Dataset",
    *,
    name: str,
    image_column: str = "image",
    label_column: str = "label",
    **options: Unpack[Options],
) -> Store:
    """The store of a `datasets.Dataset` as the dataset `name`, made unless it is there already.

    `image_column` holds images, `label_column` class labels, text or integers, which name the
    classes; the options are those of `from_arrays`, the size 84 where none is given. Raises
    UsageError for columns that are not there or hold something else.
    """
    from episodes.own.hugging_face import images_in_dataset
    from episodes.own.preparing import prepare_own

    collection = images_in_dataset(dataset, image_column, label_column)
    return prepare_own(collection, name=name, **options)
