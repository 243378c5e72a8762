"""Plain iteration over the images of a split, epoch after epoch, for pre-training."""

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np

from episodes.buffers import BufferPool
from episodes.errors import UsageError
from episodes.loader import Loader
from episodes.sampling.rng import episode_words, plan_key
from episodes.store import Store

BUFFERS = 8
EPOCH_ORDER = "images"


@dataclass(frozen=True)
class ImageBatch:
    """Images uint8 [n, H, W, C], their labels int64 [n] (0 .. classes - 1 of the split), and rows.

    `index` is int64 [n]: place p of epoch e of a split of N images is e * N + p.
    """

    images: np.ndarray
    labels: np.ndarray
    rows: np.ndarray
    index: np.ndarray

    def __len__(self) -> int:
        return len(self.index)


class ImageStream:
    """The images of `split`, each once an epoch, in an order that (split, seed, epoch) alone say.

    Without `shuffle`, in the order of the rows. Of `world` shards, shard `rank` has every
    `world`-th image. The order does not depend on machine, threads or ranks.
    """

    def __init__(
        self,
        store: Store,
        split: str = "train",
        *,
        seed: int = 1,
        shuffle: bool = True,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        if not 0 <= rank < world:
            raise UsageError(f"rank {rank} of {world} shards; expected 0 to {world - 1}")
        self.store, self.split, self.seed, self.shuffle = store, split, seed, shuffle
        self.rank, self.world = rank, world
        self.class_ids = store.split_classes(split)
        if not len(self.class_ids):
            raise UsageError(f"{store.name} has no classes in {store.split_name(split)}")
        starts, sizes = store.class_starts[self.class_ids], store.class_sizes[self.class_ids]
        self._rows = np.concatenate(
            [np.arange(start, start + size) for start, size in zip(starts, sizes, strict=True)]
        )
        self._labels = np.repeat(np.arange(len(sizes)), sizes)
        self._key = plan_key(seed, store.split_name(split), EPOCH_ORDER)
        self._order = lru_cache(2)(self._order_of)
        self._buffers = BufferPool(BUFFERS)

    def __reduce__(self) -> tuple[partial["ImageStream"], tuple[()]]:
        again = partial(
            ImageStream,
            self.store,
            self.split,
            seed=self.seed,
            shuffle=self.shuffle,
            rank=self.rank,
            world=self.world,
        )
        return again, ()

    def __len__(self) -> int:
        """The images of an epoch of the whole stream."""
        return len(self._rows)

    def shard(self, rank: int, world: int) -> "ImageStream":
        """The share of `rank` of `world`: disjoint shares, whose union is the whole stream."""
        if self.world > 1:
            raise UsageError("this is a share already: take shares of the whole stream")
        return ImageStream(
            self.store, self.split, seed=self.seed, shuffle=self.shuffle, rank=rank, world=world
        )

    def batch(self, start: int, size: int) -> ImageBatch:
        """This share's images start .. start + size - 1, of any epoch."""
        start, size = operator.index(start), operator.index(size)
        if start < 0 or size < 0:
            raise UsageError(f"images {start} .. {start + size - 1}; indices are 0 or more")
        places = (start + np.arange(size)) * self.world + self.rank
        return self._gathered(places)

    def loader(
        self, batch_size: int, *, start: int = 0, stop: int | None = None, threads: int = 1
    ) -> Loader[ImageBatch]:
        """A loader of images `start` to before `stop`, in batches; `len(self)` make an epoch."""
        return Loader(self, batch_size, start=start, stop=stop, threads=threads)

    def readings(
        self, first: int, stop: int | None, size: int
    ) -> Iterator[tuple[int, Callable[[], ImageBatch]]]:
        """This share of the images `first` to before `stop` of the whole stream, `size` at once."""
        position = first + self.rank
        while stop is None or position < stop:
            end = position + size * self.world
            places = np.arange(position, end if stop is None else min(stop, end), self.world)
            yield len(places), partial(self._gathered, places)
            position = end

    def _gathered(self, places: np.ndarray) -> ImageBatch:
        epochs, within = np.divmod(places, len(self))
        chosen = np.empty(len(places), np.int64)
        for epoch in np.unique(epochs):
            mine = epochs == epoch
            chosen[mine] = self._order(int(epoch))[within[mine]]
        rows = self._rows[chosen]
        out = self._buffers.take((len(rows), *self.store.image_shape))
        return ImageBatch(self.store.images(rows, out), self._labels[chosen], rows, places)

    def _order_of(self, epoch: int) -> np.ndarray:
        """The epoch's order: places sorted by their random words, which raw Philox gives."""
        if not self.shuffle:
            return np.arange(len(self))
        words = episode_words(self._key, epoch, 1, len(self))[0]
        return np.argsort(words, kind="stable")
