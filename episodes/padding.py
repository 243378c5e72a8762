"""Episodes of different sizes as arrays of one shape, out of a few."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from episodes.buffers import BufferPool
from episodes.episode import PaddedBatch
from episodes.sampling import VariablePlans, VariableSpec
from episodes.store import Store

NO_LABEL = -1
SHAPES = 5


@dataclass(frozen=True)
class PaddedShape:
    """The ways, support images and query images that a padded episode has room for."""

    ways: int
    support: int
    query: int

    def holds(self, ways: int, support: int, query: int) -> bool:
        """Whether an episode of these sizes has room."""
        return ways <= self.ways and support <= self.support and query <= self.query


def padded_shapes(spec: VariableSpec, count: int = SHAPES) -> tuple[PaddedShape, ...]:
    """`count` shapes from a `count`-th of the most that the spec allows to all of it.

    Few, because a compiled program is made for each; one where the spec's numbers are fixed.
    """
    most = PaddedShape(spec.most_ways, spec.most_support, spec.most_query)
    if spec.is_fixed:
        return (most,)
    return tuple(
        PaddedShape(*(-(-n * part // count) for n in (most.ways, most.support, most.query)))
        for part in range(1, count + 1)
    )


def shape_for(shapes: Sequence[PaddedShape], plans: VariablePlans) -> PaddedShape:
    """The smallest of `shapes`, which grow, that has room for each of the plans."""
    needed = (
        int(plans.ways.max(initial=0)),
        int(plans.support_counts.sum(axis=1).max(initial=0)),
        int(plans.query_counts.sum(axis=1).max(initial=0)),
    )
    return next(shape for shape in shapes if shape.holds(*needed))


@dataclass(frozen=True)
class PaddedReading:
    """Planned episodes of different sizes, whose images are gathered when it is called."""

    stores: Sequence[Store]
    plans: VariablePlans
    room: PaddedShape
    buffers: BufferPool

    def __len__(self) -> int:
        return len(self.plans)

    def __call__(self, out: np.ndarray | None = None) -> PaddedBatch:
        """The batch, in `out` or else in a buffer of the pool.

        Raises UsageError for an `out` of another type or shape.
        """
        plans, room = self.plans, self.room
        shape = (len(plans), room.support + room.query, *self.stores[0].image_shape)
        out = self.buffers.fit(shape, out)
        class_ids = np.full((len(plans), room.ways), NO_LABEL)
        labels = np.full(shape[:2], NO_LABEL)
        for position in range(len(plans)):
            plan = plans[position]
            class_ids[position, : len(plan.class_ids)] = plan.class_ids
            for start, end, rows, of_rows in (
                (0, room.support, plan.support_rows, plan.support_labels),
                (room.support, shape[1], plan.query_rows, plan.query_labels),
            ):
                filled = start + len(rows)
                labels[position, start:filled] = of_rows
                self.stores[plan.source].images(rows, out[position, start:filled])
                out[position, filled:end] = 0
        support, query = labels[:, : room.support], labels[:, room.support :]
        return PaddedBatch(
            support_images=out[:, : room.support],
            support_labels=support,
            query_images=out[:, room.support :],
            query_labels=query,
            class_ids=class_ids,
            index=plans.start + np.arange(len(plans)) * plans.step,
            source=plans.source,
            ways=plans.ways,
            support_mask=support != NO_LABEL,
            query_mask=query != NO_LABEL,
        )
