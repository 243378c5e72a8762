"""Rows of a store by number, from shards of every format."""

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from itertools import pairwise
from math import prod
from pathlib import Path

import numpy as np

from episodes.errors import EpisodesError
from episodes.store.layout import ShardInfo, StoreInfo
from episodes.store.mapped import MappedFile
from episodes.store.webdataset import read_index


class Shard:
    """One open shard: its ids, and its pixels, or else where its encoded images begin and end."""

    def __init__(self, folder: Path, shard: ShardInfo, info: StoreInfo, advice: str) -> None:
        self.file = MappedFile(folder / shard.file, shard.bytes, advice)
        if info.container == "npy":
            self.file.expect_scattered()
        self.pixels: np.ndarray | None = None
        self._ids: np.ndarray | None
        if shard.index is not None:
            index = read_index(folder, shard, advice)
            self._starts, self._ids = index["offset"], index["id"]
            self._ends = self._starts + index["length"]
            return
        first = shard.arrays["images"]
        self._ids = None
        if "ids" in shard.arrays:
            self._ids = self.file.array(f"S{shard.id_bytes}", shard.rows, shard.arrays["ids"])
        if info.keeps_pixels:
            assert info.image_shape is not None
            count = shard.rows * prod(info.image_shape)
            if count > shard.bytes:
                raise self.file.damaged(f"it has no {count} bytes of pixels")
            pixels = self.file.array(np.uint8, count, first)
            self.pixels = pixels.reshape(shard.rows, *info.image_shape)
            return
        offsets = self.file.array("<i8", shard.rows + 1, shard.arrays["offsets"])
        if (
            offsets[0] != 0
            or (offsets[1:] <= offsets[:-1]).any()
            or offsets[-1] > shard.bytes - first
        ):
            raise self.file.damaged("its offsets do not lie one behind the other")
        self._starts, self._ends = first + offsets[:-1], first + offsets[1:]

    def encoded(self, row: int) -> bytes:
        """The image file of `row`."""
        self.file.refuse_changed()
        return self.file.map[int(self._starts[row]) : int(self._ends[row])]

    def ids(self, rows: np.ndarray) -> list[str]:
        """The source ids of `rows`."""
        self.file.refuse_changed()
        if self._ids is None:
            return list(map(str, rows.tolist()))
        try:
            return [image_id.decode() for image_id in self._ids[rows]]
        except UnicodeDecodeError:
            raise self.file.damaged("an image id is not text") from None


# Rows of one shard: its array's `take`, their numbers there, their first place and end in a batch.
Run = tuple[Callable[..., object], np.ndarray, int, int]


class Rows:
    """The rows of all shards, counted through."""

    def __init__(self, folder: Path, info: StoreInfo, advice: str) -> None:
        self._shards = [Shard(folder, shard, info, advice) for shard in info.shards]
        self._takes = [shard.pixels.take for shard in self._shards if shard.pixels is not None]
        self._starts = np.cumsum([0, *(shard.rows for shard in info.shards)])
        self._image_shape = info.image_shape

    def gather(self, rows: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """The raw pixels of the int64 `rows` [n], uint8 [n, H, W, C], into `out` where given."""
        if out is None:
            assert self._image_shape is not None
            out = np.empty((len(rows), *self._image_shape), np.uint8)
        (gather,) = self.gathers(rows, max(1, len(rows)))
        gather(out)
        return out

    def gathers(self, rows: np.ndarray, size: int) -> list[Callable[[np.ndarray], object]]:
        """For each `size` of the int64 `rows` [n] in turn, what gathers them into an array.

        A run of rows of one shard is one copy, straight into its place; classes come in runs.
        """
        if not len(rows):
            return [partial(_gather, (), ())]
        self._refuse_absent(rows)
        shards = np.searchsorted(self._starts, rows, side="right") - 1
        local_rows = rows - self._starts[shards]
        begins = np.ones(len(rows), bool)
        begins[1:] = shards[1:] != shards[:-1]
        begins[::size] = True
        firsts = np.flatnonzero(begins)
        of_runs = shards[firsts].tolist()
        for shard in set(of_runs):
            self._shards[shard].file.refuse_changed()
        bounds = pairwise([*firsts.tolist(), len(rows)])
        runs = [
            (self._takes[shard], local_rows[first:last], first % size, (last - 1) % size + 1)
            for shard, (first, last) in zip(of_runs, bounds, strict=True)
        ]
        batches = pairwise([*np.flatnonzero(firsts % size == 0).tolist(), len(runs)])
        return [
            partial(_gather, {self._shards[shard].file for shard in of_runs[a:b]}, runs[a:b])
            for a, b in batches
        ]

    def encoded(self, row: int) -> bytes:
        """The image file of `row`."""
        self._refuse_absent(np.asarray([row]))
        owner = int(np.searchsorted(self._starts, row, side="right")) - 1
        return self._shards[owner].encoded(int(row - self._starts[owner]))

    def ids(self, rows: np.ndarray) -> list[str]:
        """The source ids of the int64 `rows` [n]."""
        self._refuse_absent(rows)
        ids = np.empty(len(rows), object)
        for shard, chosen, local_rows in self._by_shard(rows):
            ids[chosen] = shard.ids(local_rows)
        return list(ids)

    def _by_shard(self, rows: np.ndarray) -> Iterator[tuple[Shard, np.ndarray, np.ndarray]]:
        """Each shard with some of `rows`: where they stand in `rows`, and their rows in it."""
        owner = np.searchsorted(self._starts, rows, side="right") - 1
        for index in np.unique(owner):
            chosen = np.flatnonzero(owner == index)
            yield self._shards[index], chosen, rows[chosen] - self._starts[index]

    def _refuse_absent(self, rows: np.ndarray) -> None:
        if len(rows) and not (rows.min() >= 0 and rows.max() < self._starts[-1]):
            raise EpisodesError(
                f"rows {rows.min()} .. {rows.max()} were asked for; "
                f"the store has rows 0 .. {self._starts[-1] - 1}"
            )


def _gather(files: Collection[MappedFile], runs: Sequence[Run], out: np.ndarray) -> None:
    """Copy each run to its place in `out`; raises EpisodesError where a file was cut short."""
    for file in files:
        file.refuse_shorter()
    for take, rows, first, last in runs:
        take(rows, 0, out[first:last], "clip")  # "raise" copies twice
