"""Stores: a prepared dataset on disk, behind one read interface."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from episodes.archive import file_sha256
from episodes.errors import EpisodesError, UsageError, unknown_name
from episodes.manifest import PARTS
from episodes.store.digest import ContentDigest
from episodes.store.hdf5 import MappedShards
from episodes.store.layout import StoreInfo, read_info

if TYPE_CHECKING:
    from episodes.stream import Stream


class Store:
    """A dataset that was prepared: its classes, its splits, and its images by row.

    Rows are sorted by class and, inside a class, by the natural order of the source id. Opening
    checks the description and the size of every shard; raises EpisodesError where they disagree.
    """

    def __init__(self, path: Path, expected_digest: str | None = None) -> None:
        self.path = path
        self.info: StoreInfo = read_info(path)
        if expected_digest is not None and self.digest != expected_digest:
            raise EpisodesError(
                f"{path} was replaced: its content digest is {self.digest[:12]}…; "
                f"expected {expected_digest[:12]}…"
            )
        self._advice = f"type {self.info.command_to_replace(path)}"
        self._shards = MappedShards(path, self.info.shards, self.image_shape, self._advice)

    def __repr__(self) -> str:
        return f"Store({self.name!r}, {len(self.class_names)} classes, {self.info.rows} images)"

    def __reduce__(self) -> tuple[type["Store"], tuple[Path, str]]:
        return Store, (self.path, self.digest)

    @property
    def name(self) -> str:
        """The name it was prepared under, such as "omniglot-rotations"."""
        return self.info.name

    @property
    def digest(self) -> str:
        """The content digest, SHA-256 in hex."""
        return self.info.content_digest

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of every image."""
        return self.info.image_shape

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes in order; a class id is a position here."""
        return self.info.class_names

    @property
    def class_sizes(self) -> np.ndarray:
        """int64 [classes]: the number of images of each class."""
        return np.array(self.info.class_sizes, np.int64)

    @property
    def class_starts(self) -> np.ndarray:
        """int64 [classes]: the first row of each class."""
        return self.info.class_starts

    @property
    def default_scheme(self) -> str:
        """The split scheme that a bare "train", "val" or "test" refers to."""
        return self.info.default_scheme

    @property
    def training_defaults(self) -> Mapping[str, int | float]:
        """What the manifest suggests to trainers, such as the number of iterations."""
        return self.info.training

    def split_name(self, split: str) -> str:
        """The full name, SCHEME.PART, of `split`, which may leave the scheme out."""
        scheme, _, part = split.rpartition(".")
        scheme = scheme or self.default_scheme
        if scheme not in self.info.splits:
            raise unknown_name(f"split scheme of {self.name}", scheme, self.info.splits)
        if part not in PARTS:
            raise unknown_name(f"split of {self.name}", split, PARTS)
        return f"{scheme}.{part}"

    def split_classes(self, split: str) -> np.ndarray:
        """int64 [n]: the class ids of `split` ([SCHEME.]train, val or test), in class order."""
        scheme, _, part = self.split_name(split).rpartition(".")
        return np.array(self.info.splits[scheme][part], np.int64)

    def images(self, rows: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """The images of the int64 `rows` [n], uint8 [n, H, W, C], into `out` where given."""
        return self._shards.images(rows, out)

    def ids(self, rows: np.ndarray) -> list[str]:
        """The ids that the images of the int64 `rows` [n] have in the source."""
        return self._shards.ids(rows)

    def stream(
        self,
        split: str = "train",
        way: int = 5,
        shot: int = 1,
        query: int = 15,
        seed: int = 1,
        class_pool: Sequence[str] | None = None,
    ) -> "Stream":
        """The episodes of `split`, as `episodes.stream([self], ...)` gives them."""
        from episodes.stream import stream

        return stream(self, split, way, shot, query, seed, class_pool)

    def verify(self, deep: bool = False) -> None:
        """Check every shard's size and SHA-256, and if `deep` the content digest.

        Raises EpisodesError naming the first shard that differs.
        """
        for shard in self.info.shards:
            path = self.path / shard.file
            if file_sha256(path) != shard.sha256:
                raise EpisodesError(
                    f"the shard {path} is damaged: its SHA-256 differs from store.json's: "
                    f"{self._advice}"
                )
        if deep and (found := self._content_digest()) != self.digest:
            raise EpisodesError(
                f"{self.path}: the content digest is {found}; store.json says {self.digest}"
            )

    def _content_digest(self) -> str:
        digest = ContentDigest()
        for name, start, size in zip(
            self.class_names, self.class_starts, self.class_sizes, strict=True
        ):
            rows = np.arange(start, start + size)
            digest.add_class(name, self.ids(rows), self.images(rows))
        return digest.hexdigest()


def open(name_or_path: str | Path, *, home: Path | None = None) -> Store:
    """The prepared store of that name, or at that path.

    A generated dataset is prepared on first use. Raises EpisodesError where the store is not there
    or not whole, and UsageError for an unknown name, with the nearest match.
    """
    from episodes import manifest, places, prepare

    name = str(name_or_path)
    if isinstance(name_or_path, Path) or os.sep in name or name in (".", ".."):
        return Store(Path(name_or_path))
    folder = places.stores(home) / name
    if folder.is_dir():
        return Store(folder)
    if name in manifest.names():
        if manifest.load(name).generated:
            return prepare.prepare(name, home=home)
        raise UsageError(f"{name} is not prepared: type `episodes prepare {name}`")
    prepared = places.prepared(home)
    for dataset in manifest.names():
        if name.startswith(f"{dataset}-"):
            raise UsageError(
                f"{name} is not prepared (prepared: {', '.join(prepared) or 'none'}): "
                f"see `episodes prepare {dataset} --help`"
            )
    raise unknown_name("dataset", name, sorted({*manifest.names(), *prepared}))
