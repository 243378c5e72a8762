"""Uniform sampling: classes, then images in each class, without replacement."""

from collections.abc import Iterator, Sequence

import numpy as np

from episodes.errors import UsageError
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
    parts = []
    for done, some in _parts(spec, count):
        first = start + done * step
        words = episode_words(key, first, some, _budget(spec), step)
        parts.append(_plans(tables, spec, words, _identities(tables, spec, words), first, step))
    return _joined(parts)


def uniform_identities(
    tables: Sequence[ClassTable], spec: EpisodeSpec, key: int, start: int, count: int
) -> np.ndarray:
    """int64 [count, 1 + way]: source and class positions of what `uniform_plans` gives.

    A position is the class's place in its source's table; the classes are in label order.
    """
    parts = []
    for done, some in _parts(spec, count):
        words = episode_words(key, start + done, some, _budget(spec))
        parts.append(_identities(tables, spec, words))
    return np.concatenate(parts)


def plans_of(
    tables: Sequence[ClassTable], spec: EpisodeSpec, key: int, identities: np.ndarray, start: int
) -> PlanBatch:
    """The plans of given tasks, int64 [n, 1 + way], with the images of episodes start, start + 1...

    For the identities of `uniform_identities` they are those of `uniform_plans`. Raises UsageError
    where a row is not a source and as many distinct classes of it as the way.
    """
    identities = _checked(tables, spec, identities)
    parts = []
    for done, some in _parts(spec, len(identities)):
        words = episode_words(key, start + done, some, _budget(spec))
        tasks = identities[done : done + some]
        parts.append(_plans(tables, spec, words, tasks, start + done, 1))
    return _joined(parts)


def relabelled(identities: np.ndarray, words: np.ndarray) -> np.ndarray:
    """int64 [n, 1 + way]: the same classes in an order from uint64 words [n, way]."""
    classes = identities[:, 1:]
    order = partial_shuffle(words, np.full(len(words), classes.shape[1])).astype(np.intp)
    return np.hstack((identities[:, :1], np.take_along_axis(classes, order, axis=1)))


def _budget(spec: EpisodeSpec) -> int:
    return 1 + spec.way + spec.way * least_images(spec)


def _parts(spec: EpisodeSpec, count: int) -> Iterator[tuple[int, int]]:
    """(episodes done, episodes now), so that few rows are drawn at once; one part at least."""
    at_once = max(1, ROWS_AT_ONCE // (spec.way * least_images(spec)))
    for done in range(0, max(count, 1), at_once):
        yield done, min(at_once, count - done)


def _joined(parts: list[PlanBatch]) -> PlanBatch:
    if len(parts) == 1:
        return parts[0]
    source, class_ids, support_rows, query_rows = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("source", "class_ids", "support_rows", "query_rows")
    )
    first = parts[0]
    return PlanBatch(first.start, source, class_ids, support_rows, query_rows, first.step)


def _sizes(tables: Sequence[ClassTable]) -> np.ndarray:
    return np.array([len(table.class_ids) for table in tables])


def _identities(tables: Sequence[ClassTable], spec: EpisodeSpec, words: np.ndarray) -> np.ndarray:
    source = below(words[:, 0], np.uint64(len(tables))).astype(np.int64)
    classes = partial_shuffle(words[:, 1 : 1 + spec.way], _sizes(tables)[source])
    return np.hstack((source[:, np.newaxis], classes.astype(np.int64)))


def _checked(tables: Sequence[ClassTable], spec: EpisodeSpec, identities: np.ndarray) -> np.ndarray:
    found = np.asarray(identities)
    if found.ndim != 2 or found.shape[1] != 1 + spec.way or found.dtype.kind not in "iu":
        raise UsageError(
            f"identities are {found.dtype} {list(found.shape)}; expected whole numbers "
            f"[n, {1 + spec.way}]: a source and {spec.way} classes"
        )
    found = found.astype(np.int64)
    source, classes = found[:, 0], np.sort(found[:, 1:], axis=1)
    wrong = (source < 0) | (source >= len(tables))
    sizes = _sizes(tables)[np.where(wrong, 0, source)]
    wrong |= (classes[:, 0] < 0) | (classes[:, -1] >= sizes)
    wrong |= (classes[:, 1:] == classes[:, :-1]).any(axis=1)
    if wrong.any():
        raise UsageError(
            f"identity {found[np.argmax(wrong)].tolist()}; expected a source below {len(tables)} "
            f"and {spec.way} distinct classes of it, of {_sizes(tables).tolist()}"
        )
    return found


def _plans(
    tables: Sequence[ClassTable],
    spec: EpisodeSpec,
    words: np.ndarray,
    identities: np.ndarray,
    start: int,
    step: int,
) -> PlanBatch:
    count, way, drawn = len(identities), spec.way, least_images(spec)
    source, pools = identities[:, 0], _sizes(tables)
    before = np.cumsum(pools) - pools
    picked = identities[:, 1:] + before[source, np.newaxis]
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
