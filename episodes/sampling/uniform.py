"""Uniform sampling: classes, then images in each class, without replacement."""

from collections.abc import Sequence

import numpy as np

from episodes.sampling.rng import below, episode_words, partial_shuffle
from episodes.sampling.spec import ClassTable, EpisodeSpec, PlanBatch, least_images

ROWS_AT_ONCE = 2**15


def uniform_plans(
    tables: Sequence[ClassTable],
    spec: EpisodeSpec,
    key: int,
    start: int,
    count: int,
    step: int = 1,
) -> PlanBatch:
    """The plans of the `count` episodes start, start + step, ...; a pure function of the arguments.

    Words are spent in this order: source, classes, then for each class in label order its images,
    `least_images(spec)` of them: the class's support rows come first, then its query rows, and what
    is left is not used. With several tables an episode takes all its classes from one of them, each
    table being equally likely.
    """
    at_once = max(1, ROWS_AT_ONCE // (spec.way * least_images(spec)))
    parts = [
        _plans(tables, spec, key, start + done * step, min(at_once, count - done), step)
        for done in range(0, max(count, 1), at_once)
    ]
    if len(parts) == 1:
        return parts[0]
    source, class_ids, support_rows, query_rows = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("source", "class_ids", "support_rows", "query_rows")
    )
    return PlanBatch(start, source, class_ids, support_rows, query_rows, step)


def _plans(
    tables: Sequence[ClassTable], spec: EpisodeSpec, key: int, start: int, count: int, step: int
) -> PlanBatch:
    way, drawn = spec.way, least_images(spec)
    words = episode_words(key, start, count, 1 + way + way * drawn, step)
    source = below(words[:, 0], np.uint64(len(tables))).astype(np.int64)

    pools = np.array([len(table.class_ids) for table in tables])
    before = np.cumsum(pools) - pools
    picked = partial_shuffle(words[:, 1 : 1 + way], pools[source]) + before[source, np.newaxis]
    class_ids, starts, sizes = (
        np.concatenate([getattr(table, name) for table in tables])[picked]
        for name in ("class_ids", "starts", "sizes")
    )

    row_words = words[:, 1 + way :].reshape(count * way, drawn)
    rows = partial_shuffle(row_words, sizes.reshape(-1)) + starts.reshape(-1, 1)
    rows = rows.reshape(count, way * drawn)
    place = np.arange(drawn)
    support = place < spec.support_counts[:, np.newaxis]
    used = place < (spec.support_counts + spec.query_counts)[:, np.newaxis]
    return PlanBatch(
        start=start,
        source=source,
        class_ids=class_ids,
        support_rows=rows[:, np.flatnonzero(support)],
        query_rows=rows[:, np.flatnonzero(used & ~support)],
        step=step,
    )
