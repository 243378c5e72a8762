"""Stores: a prepared dataset on disk, behind one read interface."""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from episodes import images as codec
from episodes import manifest
from episodes.errors import EpisodesError, UsageError, unknown_name
from episodes.manifest import PARTS, Normalisation
from episodes.recipe import LARGEST_SIZE
from episodes.store.layout import FILE_NAME, StoreInfo, read_info
from episodes.store.reading import Rows
from episodes.store.verifying import content_digest, verify_files

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

    from episodes.stream import Stream


class Store:
    """A dataset that was prepared: its classes, its splits, and its images by row.

    Rows are sorted by class and, inside a class, by the natural order of the source id. Opening
    checks the description, the size of every shard, and every index; raises EpisodesError where
    they disagree. With `size` or `channels`, a view: see `at_size`.
    """

    def __init__(
        self,
        path: Path,
        expected_digest: str | None = None,
        size: int | None = None,
        resize: str | None = None,
        channels: int | None = None,
    ) -> None:
        self.path = path
        self.info: StoreInfo = read_info(path)
        found = self.info.content_digest
        if expected_digest is not None and found != expected_digest:
            raise EpisodesError(
                f"{path} was replaced: its content digest is {found[:12]}…; "
                f"expected {expected_digest[:12]}…"
            )
        self._size, self._resize = size, resize or str(self.info.preprocessing.get("resize"))
        self._channels = channels
        if size is not None:
            codec.check_method(self._resize)
        self._advice = f"type {self.info.command_to_replace(path)}"
        self._rows = Rows(path, self.info, self._advice)

    def __repr__(self) -> str:
        view = "" if self._size is None else f", at {self._size} pixels"
        view += "" if self._channels is None else f", in {self._channels} channels"
        return (
            f"Store({self.name!r}, {len(self.class_names)} classes, {self.info.rows} images{view})"
        )

    def __reduce__(self) -> tuple[type["Store"], tuple[Path, str, int | None, str, int | None]]:
        digest = self.info.content_digest
        return Store, (self.path, digest, self._size, self._resize, self._channels)

    @property
    def name(self) -> str:
        """The name it was prepared under, such as "omniglot-rotations"."""
        return self.info.name

    @property
    def digest(self) -> str:
        """The content digest, SHA-256 in hex; of a view, a hash of it and of what the view does."""
        content = self.info.content_digest
        if not self.is_view:
            return content
        view = f"episodes-view/1\n{content}\n{self._size}\n{self._resize}"
        view += "" if self._channels is None else f"\n{self._channels} channels"
        return hashlib.sha256(view.encode()).hexdigest()

    @property
    def is_view(self) -> bool:
        """Whether images are resized or change their channels when they are gathered."""
        return self._size is not None or self._channels is not None

    @property
    def channels(self) -> int:
        """1 for grey images, 3 for RGB."""
        return self._channels or self.info.channels

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of every image.

        Raises UsageError where the images differ in size and the store is not a view.
        """
        if self._size is not None:
            return self._size, self._size, self.channels
        if self.info.image_shape is None:
            raise UsageError(
                f"the images of {self.name} differ in size: open it at one "
                f"(episodes.open({self.name!r}, size=84), episodes show --size 84), "
                f"or type `{self.info.command} --size 84`"
            )
        return (*self.info.image_shape[:2], self.channels)

    def at_size(self, size: int, resize: str | None = None, channels: int | None = None) -> "Store":
        """A view whose images are decoded and resized to `size` pixels a side when gathered.

        `resize` is a method of `episodes.images.resize` (default: the recipe's); `channels` 3
        repeats grey and 1 makes colours grey (default: the store's own). The store itself where its
        images are so already. Raises UsageError for a store of raw pixels of another size, which
        are not the originals, and for a size, method or number of channels that there is not.
        """
        if not 1 <= size <= LARGEST_SIZE:
            raise UsageError(f"size is {size}; expected 1 to {LARGEST_SIZE} pixels")
        if channels not in (None, *codec.MODES):
            raise UsageError(f"channels is {channels}; expected 1 or 3")
        has_size = self.info.image_shape is not None and self.info.image_shape[:2] == (size, size)
        if not has_size and not self.info.keeps_originals:
            assert self.info.image_shape is not None
            height, width, _ = self.info.image_shape
            raise UsageError(
                f"{self.name} holds pixels of {height}x{width}, which are not resized again: type "
                f"`{self.info.command} --size {size}`"
            )
        if resize is not None:
            codec.check_method(resize)
        view = object.__new__(Store)
        view.__dict__.update(self.__dict__)  # the same open files
        view._size = None if has_size else size
        view._resize = resize or str(self.info.preprocessing.get("resize"))
        view._channels = None if channels == self.info.channels else channels
        return view if view.is_view or self.is_view else self

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

    @property
    def normalisation(self) -> Normalisation:
        """The constants that were published to normalise the dataset's images by.

        Raises UsageError where nobody published any, as of one's own images.
        """
        dataset = self.info.dataset
        shipped = manifest.load(dataset) if dataset in manifest.names() else None
        if shipped is None or shipped.normalisation is None:
            raise UsageError(
                f"nobody published normalisation constants of {dataset}: give your own, "
                "episodes.manifest.Normalisation(mean=..., std=...)"
            )
        constants = shipped.normalisation
        if (len(constants.mean), self.channels) != (1, 3):
            return constants
        return replace(constants, mean=constants.mean * 3, std=constants.std * 3)

    def split_name(self, split: str) -> str:
        """The full name, SCHEME.PART, of `split`, which may leave the scheme out.

        PART is train, val or test, or a union such as train+val.
        """
        scheme, _, union = split.rpartition(".")
        scheme, parts = scheme or self.default_scheme, union.split("+")
        if scheme not in self.info.splits:
            raise unknown_name(f"split scheme of {self.name}", scheme, self.info.splits)
        for part in parts:
            if part not in PARTS:
                raise unknown_name(f"split of {self.name}", part, PARTS)
        if len(set(parts)) < len(parts):
            raise UsageError(f"the split {split!r} of {self.name} names a part twice")
        return f"{scheme}.{'+'.join(sorted(parts, key=PARTS.index))}"

    def split_classes(self, split: str) -> np.ndarray:
        """int64 [n]: the class ids of `split`, as for `split_name`, in class order."""
        scheme, _, union = self.split_name(split).rpartition(".")
        ids = [self.info.splits[scheme][part] for part in union.split("+")]
        return np.sort(np.array([index for part in ids for index in part], np.int64))

    def images(self, rows: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """The images of the int64 `rows` [n], uint8 [n, H, W, C], into `out` where given.

        Raises EpisodesError for rows that are not there, a shard that was changed, and an image
        that does not decode.
        """
        if self.info.keeps_pixels and not self.is_view:
            return self._rows.gather(rows, out)
        shape = self.image_shape
        if out is None:
            out = np.empty((len(rows), *shape), np.uint8)
        own = self._rows.gather(rows) if self.info.keeps_pixels else map(self.image, rows)
        for position, image in enumerate(own):
            if self._size is not None:
                image = codec.resize(image, self._size, self._resize)
            elif image.shape[:2] != shape[:2]:
                raise EpisodesError(
                    f"the image {self._image_name(rows[position])} is {image.shape}; "
                    f"store.json says {self.info.image_shape}: {self._advice}"
                )
            out[position] = codec.as_channels(image, self.channels)
        return out

    def gathers(self, rows: np.ndarray, size: int) -> Sequence[Callable[[np.ndarray], object]]:
        """For each `size` of the int64 `rows` [n] in turn, what gathers their images into an array.

        As `images`, for many batches at once: quicker, because the rows are looked up together.
        """
        if self.info.keeps_pixels and not self.is_view:
            return self._rows.gathers(rows, size)
        batches = (rows[first : first + size] for first in range(0, max(1, len(rows)), size))
        return [partial(self.images, batch) for batch in batches]

    def image(self, row: int) -> np.ndarray:
        """One image at its own size, in its own channels, uint8 [H, W, C], also of a view."""
        if self.info.keeps_pixels:
            return self._rows.gather(np.array([row]))[0]
        encoded = self._rows.encoded(row)
        try:
            return codec.decode(encoded, f"of row {row}", self.info.channels)
        except EpisodesError as error:
            raise EpisodesError(
                f"{error}: it is {self._image_name(row)} in {self.path}: {self._advice}"
            ) from None

    def encoded(self, row: int) -> bytes:
        """The image file of `row` as it is kept; raises UsageError where pixels are kept."""
        if self.info.keeps_pixels:
            raise UsageError(f"{self.name} keeps raw pixels and no image files: take images(rows)")
        return self._rows.encoded(row)

    def ids(self, rows: np.ndarray) -> list[str]:
        """The ids that the images of the int64 `rows` [n] have in the source."""
        return self._rows.ids(rows)

    def stream(
        self,
        split: str = "train",
        way: int = 5,
        shot: int | Sequence[int] = 1,
        query: int | Sequence[int] = 15,
        seed: int = 1,
        class_pool: Sequence[str] | None = None,
    ) -> "Stream":
        """The episodes of `split`, as `episodes.stream([self], ...)` gives them."""
        from episodes.stream import stream

        return stream(self, split, way, shot, query, seed, class_pool)

    @staticmethod
    def from_hf(
        dataset: "Dataset",
        *,
        name: str,
        image_column: str = "image",
        label_column: str = "label",
        **options: Any,
    ) -> "Store":
        """The store of a Hugging Face dataset's images, as `episodes.own.from_hf` makes it."""
        from episodes.own import from_hf

        return from_hf(
            dataset, name=name, image_column=image_column, label_column=label_column, **options
        )

    def to_hf(
        self, split: str | None = None, *, cache_dir: Path | None = None
    ) -> "Dataset | DatasetDict":
        """The images as a Hugging Face dataset, as `episodes.to_hf.to_hf` makes it."""
        from episodes.to_hf import to_hf

        return to_hf(self, split, cache_dir=cache_dir)

    def verify(self, deep: bool = False) -> None:
        """Check every shard's size and SHA-256, and if `deep` the content digest.

        Raises EpisodesError naming the first shard that differs.
        """
        verify_files(self.path, self.info)
        found = content_digest(self) if deep else self.info.content_digest
        if found != self.info.content_digest:
            raise EpisodesError(
                f"{self.path}: the content digest is {found}; "
                f"store.json says {self.info.content_digest}"
            )

    def _image_name(self, row: int) -> str:
        class_id = np.searchsorted(self.class_starts, row, side="right") - 1
        return f"{self.class_names[class_id]}/{self.ids(np.array([row]))[0]}"


def open(
    name_or_path: str | Path,
    *,
    home: Path | None = None,
    size: int | None = None,
    channels: int | None = None,
) -> Store:
    """The prepared store of that name, or at that path; its view of that `size` and `channels`.

    A generated dataset is prepared on first use. Raises EpisodesError where the store is not there
    or not whole, and UsageError for an unknown name, with the nearest match.
    """
    store = _open(name_or_path, home)
    if size is None and channels is None:
        return store
    return store.at_size(store.image_shape[0] if size is None else size, channels=channels)


def _open(name_or_path: str | Path, home: Path | None) -> Store:
    from episodes import places

    name = str(name_or_path)
    if isinstance(name_or_path, Path) or os.sep in name or name in (".", ".."):
        _refuse_conversion(Path(name_or_path))
        return Store(Path(name_or_path))
    folder = places.stores(home) / name
    if folder.is_dir():
        return Store(folder)
    if name in manifest.names():
        if manifest.load(name).generated:
            from episodes import prepare

            return prepare.prepare(name, home=home)
        raise UsageError(f"{name} is not prepared: type `episodes prepare {name}`")
    prepared = places.prepared(home)
    for dataset in manifest.names():
        if name.startswith(f"{dataset}-"):
            raise UsageError(
                f"{name} is not prepared (prepared: {', '.join(prepared) or 'none'}): "
                f"see `episodes prepare {dataset} --help`"
            )
    if (Path(name) / FILE_NAME).is_file():
        raise UsageError(
            f"unknown dataset {name!r}: to open the store in the folder of that name, type ./{name}"
        )
    raise unknown_name("dataset", name, sorted({*manifest.names(), *prepared}))


def _refuse_conversion(path: Path) -> None:
    """Raises UsageError, with what to type first, for a folder that is a conversion's."""
    from episodes.meta_dataset.specification_file import is_conversion

    if is_conversion(path):
        raise UsageError(
            f"{path} is a Meta-Dataset conversion: type `episodes prepare NAME --from {path} "
            "--format tfrecord` once, which checks its files and uses them where they lie"
        )
