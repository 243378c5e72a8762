"""store.json: the description of a store, which makes a directory of shards a dataset."""

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from episodes.errors import EpisodesError
from episodes.sealed import read_sealed, sealed
from episodes.store.checking import (
    check_entries,
    check_identity,
    check_splits,
    check_texts,
    check_types,
    check_whole_numbers,
)

FORMAT = "episodes-store/2"
FILE_NAME = "store.json"
CARD_NAME = "card.md"
RECORDS_IN_PLACE = "tfrecord"
CONTAINERS = ("hdf5", "webdataset", "npy", RECORDS_IN_PLACE)
ONLY_ENCODING = {"npy": "raw", RECORDS_IN_PLACE: "original"}
ENCODINGS = ("raw", "original")
OWN_INPUTS = {"folder": "folder PATH", "csv": "csv PATH", "hf": "hf:REPO"}
RECORDS = "records"  # the source of what was made from a Meta-Dataset conversion
SHARD_NAME = re.compile(r"shard-([0-9]{5}|[1-9][0-9]{5,})\.(h5|tar|npy|tfrecords)")


@dataclass(frozen=True)
class IndexInfo:
    """The index beside a tar: its file, size and hash."""

    file: str
    bytes: int
    sha256: str

    def __post_init__(self) -> None:
        check_types(self)
        _refuse_path(self.file)


@dataclass(frozen=True)
class ShardInfo:
    """One shard: its file, size, hash and rows, and where to find the rows in it.

    An HDF5 file has `arrays`, the byte offsets of its datasets `images`, `ids` (each `id_bytes`
    wide) and, where images are kept encoded, `offsets`. A tar has an `index` instead. An .npy file,
    the source's own, has `images` alone: an id is the number of the row in it.
    """

    file: str
    bytes: int
    sha256: str
    rows: int
    arrays: Mapping[str, int] = field(default_factory=dict)
    id_bytes: int = 0
    index: IndexInfo | None = None

    def __post_init__(self) -> None:
        check_types(self)
        check_whole_numbers("shard", (self.bytes, self.rows, self.id_bytes, *self.arrays.values()))
        _refuse_path(self.file)
        if max(1, self.rows) * max(1, self.id_bytes) > self.bytes:
            raise ValueError(f"{self.file} has {self.bytes} bytes for {self.rows} rows")


@dataclass(frozen=True)
class StoreInfo:
    """What store.json says.

    `splits` maps a scheme and a part (train, val, test) to class indices; `image_shape` is None
    where the images differ in size; `preprocessing` is the recipe; `source` names the source
    variant, and `sources` its files; `missing` counts what a partial store lacks (`images`,
    `classes`) of what the manifest has (`images_expected`, `classes_expected`); `skipped` lists
    corrupt images as {class, id, reason}; `identity` is {namespace, pattern} where classes of other
    datasets can be the same; `verified` says what was checked when the store was made.
    """

    name: str
    dataset: str
    version: str
    class_names: tuple[str, ...]
    class_sizes: tuple[int, ...]
    splits: Mapping[str, Mapping[str, tuple[int, ...]]]
    default_scheme: str
    channels: int
    image_shape: tuple[int, int, int] | None
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
    title: str = ""
    homepage: str = ""
    redistribution: bool = False
    source: str = ""
    partial: bool = False
    missing: Mapping[str, int] = field(default_factory=dict)
    skipped: tuple[Mapping[str, str], ...] = ()
    identity: Mapping[str, str] | None = None
    container: str = "hdf5"
    encoding: str = "raw"
    format: str = FORMAT

    def __post_init__(self) -> None:
        check_types(self)
        if self.container not in CONTAINERS or self.encoding not in ENCODINGS:
            raise ValueError(f"there is no format {self.container!r}, {self.encoding!r}")
        if self.encoding != ONLY_ENCODING.get(self.container, self.encoding):
            raise ValueError(f"{self.container} has no encoding {self.encoding!r}")
        if self.channels not in (1, 3):
            raise ValueError(f"channels is {self.channels}; expected 1 or 3")
        if self.image_shape is None and self.keeps_pixels:
            raise ValueError(f"raw pixels in {self.container} need one image shape")
        if self.image_shape is not None:
            check_whole_numbers("image_shape", self.image_shape)
            if len(self.image_shape) != 3 or self.image_shape[2] != self.channels:
                raise ValueError(f"image_shape is {self.image_shape} for {self.channels} channels")
        if len(self.class_names) != len(self.class_sizes):
            raise ValueError("class names and class sizes differ in number")
        check_texts("class_names", self.class_names)
        check_whole_numbers("class_sizes", self.class_sizes)
        check_splits(self.splits, self.default_scheme, len(self.class_names))
        check_identity(self.identity)
        check_entries("sources", self.sources, {"file", "original"})
        check_entries("skipped", self.skipped, {"class", "id", "reason"})
        check_whole_numbers("missing", self.missing.values())
        if sum(shard.rows for shard in self.shards) != self.rows:
            raise ValueError("the shards' rows are not the classes' sizes")
        for shard in self.shards:
            if (set(shard.arrays), shard.index is None) != (self._arrays, bool(self._arrays)):
                raise ValueError(f"{shard.file} is not described as {self.container} is")

    @cached_property
    def class_starts(self) -> np.ndarray:
        """int64 [classes]: the first row of each class."""
        return np.concatenate(([0], np.cumsum(self.class_sizes)[:-1])).astype(np.int64)

    @property
    def rows(self) -> int:
        """The number of images."""
        return sum(self.class_sizes)

    @property
    def keeps_pixels(self) -> bool:
        """Whether rows are pixels to be gathered, and not image files to be decoded."""
        return self.encoding == "raw" and self.container != "webdataset"

    @property
    def keeps_originals(self) -> bool:
        """Whether rows are the source's own images, so that to resize them is no second time."""
        return self.encoding == "original" or self.container == "npy" or self.image_shape is None

    @property
    def _arrays(self) -> set[str]:
        """The datasets of which a shard of this format has the byte offsets."""
        if self.container != "hdf5":
            return {"images"} if self.container == "npy" else set()
        return {"images", "ids"} | ({"offsets"} if self.encoding == "original" else set())

    @property
    def marks(self) -> tuple[str, ...]:
        """What sets this store apart from the whole dataset, a line each; () where nothing does."""
        lines = []
        if self.partial:
            found = [
                f"{expected - self.missing.get(kind, 0):,} of {expected:,} {kind}"
                for kind in ("images", "classes")
                if (expected := self.missing.get(f"{kind}_expected"))
            ]
            lines.append(f"partial: {', '.join(found)}" if found else "partial")
        if self.skipped:
            lines.append(
                f"{len(self.skipped):,} corrupt image{'s' * (len(self.skipped) > 1)} skipped"
            )
        return tuple(lines)

    @property
    def command(self) -> str:
        """What to type to prepare this dataset, without options."""
        if self.source == "arrays":
            return f"episodes.from_arrays(..., name={self.dataset!r}, force=True)"
        if own := OWN_INPUTS.get(self.source):
            return f"episodes prepare {own} --name {shlex.quote(self.dataset)}"
        given = " --from RECORDS" if self.source == RECORDS else ""
        return f"episodes prepare {shlex.quote(self.dataset)}{given}"

    def command_to_replace(self, folder: Path) -> str:
        """What to type to make this store in `folder` again."""
        recipe = self.preprocessing
        options = {
            f"--size {recipe.get('size')}": recipe.get("size") is not None,
            f"--resize {recipe.get('resize')}": recipe.get("size") is not None,
            "--rotations": recipe.get("rotations", False),
            f"--crop {recipe.get('crop')}": recipe.get("crop", "none") != "none",
            "--drop-twins": recipe.get("twins") == "dropped" and self.source != RECORDS,
            f"--format {self.container}": self.container != "hdf5",
            f"--encoding {self.encoding}": self.encoding != "raw",
            "--partial": self.partial,
            "--skip-corrupt": bool(self.skipped),
            f"--out {shlex.quote(str(folder))} --force": True,
        }
        chosen = [option for option, wanted in options.items() if wanted]
        return f"`{' '.join([self.command, *(chosen if self.source != 'arrays' else [])])}`"


def belongs_to_store(path: Path) -> bool:
    """Whether a file of that name is one that stores are made of."""
    return path.name in (FILE_NAME, CARD_NAME) or bool(SHARD_NAME.fullmatch(path.name))


def write_info(folder: Path, info: StoreInfo) -> None:
    """Write `info` as store.json into `folder`, under a SHA-256 of its own."""
    values = sealed(asdict(info))
    (folder / FILE_NAME).write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def read_info(folder: Path) -> StoreInfo:
    """The description of the store in `folder`.

    Raises EpisodesError where there is none, where it is damaged, and where its format is another.
    """
    path = folder / FILE_NAME
    again = _again(folder)
    values = read_sealed(path, "store", FORMAT, again, other=f": {again}")
    try:
        return _parsed(values)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise EpisodesError(f"{path} is damaged ({error}): {again}") from None


def _parsed(values: dict[str, Any]) -> StoreInfo:
    shape = values["image_shape"]
    tuples = ("class_names", "class_sizes", "sources", "skipped")
    return StoreInfo(
        **values
        | {name: tuple(values[name]) for name in tuples}
        | {
            "splits": {
                scheme: {part: tuple(classes) for part, classes in parts.items()}
                for scheme, parts in values["splits"].items()
            },
            "image_shape": None if shape is None else tuple(shape),
            "shards": tuple(
                ShardInfo(**shard | {"index": shard["index"] and IndexInfo(**shard["index"])})
                for shard in values["shards"]
            ),
        }
    )


def _refuse_path(name: str) -> None:
    # store.json may come from elsewhere: what it names lies beside it, nowhere else.
    if Path(name).name != name or not belongs_to_store(Path(name)):
        raise ValueError(f"{name!r} is not a shard's name")


def _again(folder: Path) -> str:
    return f"prepare it again (`episodes prepare NAME --out {folder} --force`)"
