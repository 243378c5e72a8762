"""Streams whose images lie on a device: planned on the host, gathered where the images are."""

import copy
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Self

import numpy as np

from episodes.episode_stream import EPISODES_PLANNED_AT_ONCE
from episodes.errors import UsageError
from episodes.loader import Loader
from episodes.prefetch import prefetched
from episodes.sampling import EpisodePlan, PlanBatch
from episodes.stream import Stream

ROWS_UPLOADED_AT_ONCE = 1024
Arrays = dict[str, Any]


class ResidentStream(ABC):
    """The episodes of a stream, gathered on a device that holds every image they can have.

    Items are dicts of the device's arrays under the names of `Episode`'s fields, except `index` and
    `source`, which only name the episodes and stay on the host.
    """

    def __init__(self, stream: Stream) -> None:
        self.stream, self.rank, self.world = stream, stream.rank, stream.world
        self._places = []
        first = 0
        for store, rows in zip(stream.stores, _rows(stream), strict=True):
            places = np.full(store.info.rows, -1, np.int64)
            places[rows] = np.arange(first, first + len(rows))
            self._places.append(places)
            first += len(rows)

    def shard(self, rank: int | None = None, world: int | None = None) -> Self:
        """The share of `rank` of `world`, as `Stream.shard`; the images are not uploaded again."""
        share = copy.copy(self)
        share.stream = self.stream.shard(rank, world)
        share.rank, share.world = share.stream.rank, share.stream.world
        return share

    def plan(self, index: int) -> EpisodePlan:
        """The plan of episode `index`, on the host."""
        return self.stream.plan(index)

    def batch(self, start: int, size: int) -> Arrays:
        """Episodes start .. start + size - 1, with a leading axis."""
        plans = self.stream.plans(start, size)
        return self._gathered(self._put(self._table(plans)), _indices(plans), plans.source)

    def __getitem__(self, index: int) -> Arrays:
        return {name: values[0] for name, values in self.batch(index, 1).items()}

    def batches(self, size: int, start: int = 0, stop: int | None = None) -> Iterator[Arrays]:
        """Batches of `size` episodes from `start` to before `stop` (default: without end)."""
        if size < 1:
            raise UsageError(f"size {size}; expected 1 or more")
        first, end = start * self.world, None if stop is None else stop * self.world
        return (read() for _, read in self.readings(first, end, size))

    def loader(self, size: int, *, start: int = 0, stop: int | None = None) -> Loader[Arrays]:
        """Batches of `size` with a place to go on from, as `Stream.loader`."""
        return Loader(self, size, start=start, stop=stop, threads=0)

    def readings(
        self, first: int, stop: int | None, size: int
    ) -> Iterator[tuple[int, Callable[[], Arrays]]]:
        """As `Stream.readings`; what was planned at once crosses to the device at once."""
        at_once = max(1, EPISODES_PLANNED_AT_ONCE // size) * size
        position = first + self.rank
        while stop is None or position < stop:
            left = at_once if stop is None else len(range(position, stop, self.world))
            plans = self.stream._plans(position, min(at_once, left))
            table, index, source = self._put(self._table(plans)), _indices(plans), plans.source
            for done in range(0, len(index), size):
                some = slice(done, done + size)
                yield (
                    len(index[some]),
                    partial(self._gathered, table[some], index[some], source[some]),
                )
            position += len(index) * self.world

    def _table(self, plans: PlanBatch) -> np.ndarray:
        """int64 [n, support + query + way]: places on the device, then class ids."""
        rows = np.concatenate((plans.support_rows, plans.query_rows), axis=1)
        places = np.empty_like(rows)
        for source, of_store in enumerate(self._places):
            mine = plans.source == source
            places[mine] = of_store[rows[mine]]
        return np.concatenate((places, plans.class_ids), axis=1)

    @abstractmethod
    def _put(self, table: np.ndarray) -> Any:
        """The table on the device."""

    @abstractmethod
    def _gathered(self, table: Any, index: np.ndarray, source: np.ndarray) -> Arrays:
        """The batch of the table's episodes."""


def pixels_shape(stream: Stream) -> tuple[int, int, int, int]:
    """[rows, H, W, C] of all images that the stream's episodes can have."""
    return (sum(len(rows) for rows in _rows(stream)), *stream.image_shape)


def uploads(stream: Stream) -> Iterator[tuple[int, np.ndarray]]:
    """Those images, some at once, decoded in threads: the place of the first, and their pixels."""
    tasks = (
        partial(store.images, rows[first : first + ROWS_UPLOADED_AT_ONCE])
        for store, rows in zip(stream.stores, _rows(stream), strict=True)
        for first in range(0, len(rows), ROWS_UPLOADED_AT_ONCE)
    )
    place = 0
    for pixels in prefetched(tasks, threads=min(8, os.cpu_count() or 1)):
        yield place, pixels
        place += len(pixels)


def refuse_larger(stream: Stream, free: int | None, device: object) -> None:
    """Raises UsageError where the images need more than the `free` bytes of a device."""
    needed = int(np.prod(pixels_shape(stream), dtype=np.int64))
    if free is not None and needed > free:
        raise too_large(stream, f"has {free:,} free", device)


def too_large(stream: Stream, found: str, device: object) -> UsageError:
    """The error for images that a device has no room for."""
    needed = int(np.prod(pixels_shape(stream), dtype=np.int64))
    return UsageError(
        f"the images of {stream!r} need {needed:,} bytes on {device}, which {found}: "
        "keep the stream on the host and move its batches, or prepare a smaller --size"
    )


def host_memory() -> int | None:
    """The bytes of memory that the operating system can still give, where it says so (Linux)."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            facts = dict(line.split(":", 1) for line in lines)
        return int(facts["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None


def _rows(stream: Stream) -> list[np.ndarray]:
    """int64 [n] for each store: the rows that episodes can have, of whole classes."""
    return [
        np.concatenate([first + np.arange(size) for first, size in zip(*places, strict=True)])
        for places in ((table.starts, table.sizes) for table in stream.class_tables)
    ]


def _indices(plans: PlanBatch) -> np.ndarray:
    return plans.start + plans.step * np.arange(len(plans.source))
