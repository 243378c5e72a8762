"""store.json: the description of a store, which makes a directory of shards a dataset."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from episodes.errors import EpisodesError

FORMAT = "episodes-store/1"
FILE_NAME = "store.json"


@dataclass(frozen=True)
class ShardInfo:
    """One HDF5 shard: its file, size, hash, rows, and where its two datasets lie in the file."""

    file: str
    bytes: int
    sha256: str
    rows: int
    images_offset: int
    ids_offset: int
    id_bytes: int


@dataclass(frozen=True)
class StoreInfo:
    """What store.json says.

    `splits` maps a scheme and a part (train, val, test) to class indices; `verified` says what was
    checked when the store was made.
    """

    name: str
    dataset: str
    version: str
    class_names: tuple[str, ...]
    class_sizes: tuple[int, ...]
    splits: Mapping[str, Mapping[str, tuple[int, ...]]]
    default_scheme: str
    image_shape: tuple[int, int, int]
    preprocessing: Mapping[str, Any]
    training: Mapping[str, int | float]
    shards: tuple[ShardInfo, ...]
    content_digest: str
    manifest_digest: str
    licence: str
    citation: str
    verified: str
    sources: tuple[Mapping[str, Any], ...]
    tool_version: str
    container: str = "hdf5"
    format: str = FORMAT

    @cached_property
    def class_starts(self) -> np.ndarray:
        """int64 [classes]: the first row of each class."""
        return np.concatenate(([0], np.cumsum(self.class_sizes)[:-1])).astype(np.int64)

    def command_to_replace(self, folder: Path) -> str:
        """What to type to make this store in `folder` again."""
        rotations = " --rotations" if self.preprocessing["rotations"] else ""
        return (
            f"`episodes prepare {self.dataset} --size {self.preprocessing['size']}{rotations} "
            f"--out {folder} --force`"
        )

    @property
    def rows(self) -> int:
        """The number of images."""
        return sum(self.class_sizes)


def write_info(folder: Path, info: StoreInfo) -> None:
    """Write `info` as store.json into `folder`, under a SHA-256 of its own."""
    values = asdict(info)
    values["sha256"] = _sha256(values)
    (folder / FILE_NAME).write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def read_info(folder: Path) -> StoreInfo:
    """The description of the store in `folder`.

    Raises EpisodesError where there is none, where it is damaged, and where its format is another.
    """
    path = folder / FILE_NAME
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise EpisodesError(f"{folder} is not a store: it has no {FILE_NAME}") from None
    except OSError as error:
        raise EpisodesError(f"cannot read {path}: {error.strerror}") from None
    except ValueError:
        raise EpisodesError(f"{path} is damaged: {_again(folder)}") from None
    found = values.get("format") if isinstance(values, dict) else None
    if found != FORMAT:
        raise EpisodesError(
            f"{folder} has the store format {found!r}; this version reads {FORMAT!r}: "
            f"{_again(folder)}"
        )
    if values.pop("sha256", None) != _sha256(values):
        raise EpisodesError(f"{path} is damaged (its SHA-256 differs): {_again(folder)}")
    try:
        return StoreInfo(
            **values
            | {
                "class_names": tuple(values["class_names"]),
                "class_sizes": tuple(values["class_sizes"]),
                "splits": {
                    scheme: {part: tuple(classes) for part, classes in parts.items()}
                    for scheme, parts in values["splits"].items()
                },
                "image_shape": tuple(values["image_shape"]),
                "shards": tuple(ShardInfo(**shard) for shard in values["shards"]),
                "sources": tuple(values["sources"]),
            }
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise EpisodesError(f"{path} is damaged ({error}): {_again(folder)}") from None


def _sha256(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _again(folder: Path) -> str:
    return f"prepare it again (`episodes prepare NAME --out {folder} --force`)"
