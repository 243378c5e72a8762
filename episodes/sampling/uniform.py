"""Uniform sampling: classes, then images in each class, without replacement."""

from collections.abc import Sequence

import numpy as np

from episodes.sampling.rng import below, episode_words, partial_shuffle
from episodes.sampling.spec import ClassTable, EpisodeSpec, PlanBatch

PLANS_AT_ONCE = 2048


def uniform_plans(
    tables: Sequence[ClassTable], spec: EpisodeSpec, key: int, start: int, count: int
) -> PlanBatch:
    """The plans of episodes start .. start + count - 1, a pure function of the arguments.

    Words are spent in this order: source, classes, then for each class in label order its support
    and query rows. With several tables an episode takes all its classes from one of them, each
    table being equally likely.
    """
    parts = [
        _plans(tables, spec, key, start + done, min(PLANS_AT_ONCE, count - done))
        for done in range(0, max(count, 1), PLANS_AT_ONCE)
    ]
    if len(parts) == 1:
        return parts[0]
    return PlanBatch(
        start,
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("source", "class_ids", "support_rows", "query_rows")
        ),
    )


def _plans(
    tables: Sequence[ClassTable], spec: EpisodeSpec, key: int, start: int, count: int
) -> PlanBatch:
    way, per_class = spec.way, spec.shot + spec.query
    words = episode_words(key, start, count, 1 + way + way * per_class)
    source = below(words[:, 0], np.uint64(len(tables))).astype(np.int64)
    class_words = np.ascontiguousarray(words[:, 1 : 1 + way].T)
    row_words = words[:, 1 + way :].reshape(count * way, per_class)

    positions = np.empty((count, way), np.int64)
    class_ids, first, sizes = (np.empty((count, way), np.int64) for _ in range(3))
    for index, table in enumerate(tables):
        mine = np.flatnonzero(source == index)
        pool = np.full(len(mine), len(table.class_ids), np.uint64)
        positions[mine] = partial_shuffle(class_words[:, mine], pool).T
        class_ids[mine] = table.class_ids[positions[mine]]
        first[mine] = table.starts[positions[mine]]
        sizes[mine] = table.sizes[positions[mine]]

    rows = partial_shuffle(
        np.ascontiguousarray(row_words.T), sizes.reshape(-1).astype(np.uint64)
    ).T.reshape(count, way, per_class)
    rows = rows + first[:, :, None]
    return PlanBatch(
        start=start,
        source=source,
        class_ids=class_ids,
        support_rows=rows[:, :, : spec.shot].reshape(count, way * spec.shot),
        query_rows=rows[:, :, spec.shot :].reshape(count, way * spec.query),
    )
