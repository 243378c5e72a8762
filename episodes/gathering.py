"""Readings: planned episodes, whose images are gathered when they are asked for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from episodes.buffers import BufferPool
from episodes.episode import EpisodeBatch
from episodes.sampling import EpisodeSpec, PlanBatch
from episodes.store import Store


@dataclass(slots=True)
class Reading:
    """A batch of episodes but for its images, and how they are gathered into uint8 `shape`."""

    shape: tuple[int, ...]
    gather: Callable[[np.ndarray], object]
    buffers: BufferPool
    support_labels: np.ndarray
    query_labels: np.ndarray
    class_ids: np.ndarray
    index: np.ndarray
    source: np.ndarray

    def __len__(self) -> int:
        return len(self.index)

    def __call__(self, out: np.ndarray | None = None) -> EpisodeBatch:
        """The batch, in `out` or else in a buffer of the pool.

        Raises UsageError for an `out` of another type or shape.
        """
        out = self.buffers.fit(self.shape, out)
        self.gather(out.reshape(-1, *self.shape[2:]))
        support_size = self.support_labels.shape[1]
        return EpisodeBatch(
            support_images=out[:, :support_size],
            support_labels=self.support_labels,
            query_images=out[:, support_size:],
            query_labels=self.query_labels,
            class_ids=self.class_ids,
            index=self.index,
            source=self.source,
        )


def readings(
    stores: Sequence[Store], spec: EpisodeSpec, plans: PlanBatch, size: int, buffers: BufferPool
) -> list[Reading]:
    """The readings of `plans`, `size` episodes each, the last perhaps fewer.

    All of them at once: between two copies of megabytes the interpreter runs from cold caches, and
    every call costs three times as much.
    """
    count = len(plans.source)
    rows = np.concatenate((plans.support_rows, plans.query_rows), axis=1)
    support_labels = spec.support_labels[np.newaxis].repeat(count, axis=0)
    query_labels = spec.query_labels[np.newaxis].repeat(count, axis=0)
    index = plans.start + np.arange(count) * plans.step
    image_shape = stores[0].image_shape

    def reading(first: int, gather: Callable[[np.ndarray], object]) -> Reading:
        some = slice(first, min(count, first + size))
        return Reading(
            shape=(some.stop - first, rows.shape[1], *image_shape),
            gather=gather,
            buffers=buffers,
            support_labels=support_labels[some],
            query_labels=query_labels[some],
            class_ids=plans.class_ids[some],
            index=index[some],
            source=plans.source[some],
        )

    gathers = _gathers(stores, rows, plans.source, size)
    return [reading(position * size, gather) for position, gather in enumerate(gathers)]


def _gathers(
    stores: Sequence[Store], rows: np.ndarray, source: np.ndarray, size: int
) -> Sequence[Callable[[np.ndarray], object]]:
    """For each `size` of the episodes' `rows` [n, images] in turn, what gathers their images."""
    images = rows.shape[1]
    if len(stores) == 1:
        return stores[0].gathers(rows.reshape(-1), size * images)

    def gather(owners: list[int], some: np.ndarray, out: np.ndarray) -> None:
        for position, owner in enumerate(owners):
            of_episode = slice(position * images, (position + 1) * images)
            stores[owner].images(some[position], out[of_episode])

    batches = (slice(first, first + size) for first in range(0, max(1, len(rows)), size))
    return [partial(gather, source[batch].tolist(), rows[batch]) for batch in batches]
