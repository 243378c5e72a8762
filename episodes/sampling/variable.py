"""Sampling of variable way and shot, by Meta-Dataset's rules."""

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import accumulate

import numpy as np

from episodes.sampling.pooled_classes import PooledClasses
from episodes.sampling.ragged import ragged_shuffle
from episodes.sampling.rng import below, episode_words, fractions
from episodes.sampling.spec import EpisodePlan
from episodes.sampling.variable_spec import HEAD_WORDS, VariableSpec

WORDS_AT_ONCE = 2**19
SOURCE, HIERARCHY, POOL, WAYS, SUPPORT = range(HEAD_WORDS)
WEIGHT_BITS = 20
HALVINGS = 6
TERMS = 7
NO_CLASS = -1


@dataclass(frozen=True)
class VariablePlans:
    """Plans of n episodes of different ways and shots: start, start + step, start + 2 step, ...

    int64 arrays: `source` [n], `ways` [n]; `class_ids`, `support_counts` and `query_counts` [n, W]
    in label order, W the most ways that the spec allows: places from the way on have class -1 and
    no images. `support_rows` and `query_rows` are one episode's after the other's, sorted by label
    in each; those of episode j are the rows offsets[j] to before offsets[j + 1].
    """

    start: int
    source: np.ndarray
    ways: np.ndarray
    class_ids: np.ndarray
    support_counts: np.ndarray
    query_counts: np.ndarray
    support_rows: np.ndarray
    query_rows: np.ndarray
    step: int = 1

    def __len__(self) -> int:
        return len(self.ways)

    def __getitem__(self, position: int) -> EpisodePlan:
        """The plan at `position` by itself."""
        position = range(len(self))[position]
        way = self.ways[position]
        support = slice(*self.support_offsets[position : position + 2])
        query = slice(*self.query_offsets[position : position + 2])
        return EpisodePlan(
            index=self.start + position * self.step,
            source=int(self.source[position]),
            class_ids=self.class_ids[position, :way],
            support_rows=self.support_rows[support],
            support_labels=self.support_labels[support],
            query_rows=self.query_rows[query],
            query_labels=self.query_labels[query],
        )

    def part(self, first: int, end: int) -> "VariablePlans":
        """The plans at positions `first` to before `end`, or as many as there are."""
        some = slice(first, min(end, len(self)))
        support = slice(*self.support_offsets[[some.start, some.stop]])
        query = slice(*self.query_offsets[[some.start, some.stop]])
        return VariablePlans(
            start=self.start + first * self.step,
            source=self.source[some],
            ways=self.ways[some],
            class_ids=self.class_ids[some],
            support_counts=self.support_counts[some],
            query_counts=self.query_counts[some],
            support_rows=self.support_rows[support],
            query_rows=self.query_rows[query],
            step=self.step,
        )

    @cached_property
    def support_offsets(self) -> np.ndarray:
        """int64 [n + 1]: where each episode's support rows begin, and the end of the last."""
        return _offsets(self.support_counts)

    @cached_property
    def query_offsets(self) -> np.ndarray:
        """int64 [n + 1]: where each episode's query rows begin, and the end of the last."""
        return _offsets(self.query_counts)

    @cached_property
    def support_labels(self) -> np.ndarray:
        """int64, of the shape of `support_rows`: 0 to way - 1 in each episode, in order."""
        return _labels(self.support_counts)

    @cached_property
    def query_labels(self) -> np.ndarray:
        """int64, of the shape of `query_rows`: 0 to way - 1 in each episode, in order."""
        return _labels(self.query_counts)


def variable_plans(
    classes: PooledClasses, spec: VariableSpec, key: int, start: int, count: int, step: int = 1
) -> VariablePlans:
    """The plans of the `count` episodes start, start + step, ...; a pure function of the arguments.

    An episode spends its words in this order: source, whether the hierarchy is ignored, pool, way,
    and support size (the fixed range's shot in its place); then a word for each of the most ways
    the spec allows, with which classes are drawn; as many for the classes' weights; then for each
    class in label order its images: first its support rows, then its query rows.
    """
    at_once = max(1, WORDS_AT_ONCE // spec.words)
    parts = [
        _plans(classes, spec, key, start + done * step, min(at_once, count - done), step)
        for done in range(0, max(count, 1), at_once)
    ]
    names = ("source", "ways", "class_ids", "support_counts", "query_counts", "support_rows")
    joined = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in (*names, "query_rows")
    }
    return VariablePlans(start=start, step=step, **joined)


def _plans(
    classes: PooledClasses, spec: VariableSpec, key: int, start: int, count: int, step: int
) -> VariablePlans:
    words = episode_words(key, start, count, spec.words, step)
    head, class_words, weight_words, row_words = np.split(
        words, np.cumsum((HEAD_WORDS, spec.most_ways, spec.most_ways)), axis=1
    )
    source = _sources(head, len(classes.first_pool), spec, key, start, step)
    pool = _pools(head, classes, spec, source)
    ways = _ways(head, classes, spec, pool)

    taken = np.arange(spec.most_ways) < ways[:, np.newaxis]
    chosen = ragged_shuffle(class_words[taken], ways, classes.counts[pool])
    chosen += np.repeat(classes.first[pool], ways)
    sizes = _padded(classes.sizes[chosen], taken, 0)
    support, query = _counts(head, weight_words, spec, sizes, taken)

    drawn = support + query
    used = np.arange(spec.most_rows) < drawn.sum(axis=1)[:, np.newaxis]
    counts = drawn[taken]
    rows = ragged_shuffle(row_words[used], counts, classes.sizes[chosen])
    rows += np.repeat(classes.starts[chosen], counts)
    place = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    in_support = place < np.repeat(support[taken], counts)
    return VariablePlans(
        start=start,
        source=source,
        ways=ways,
        class_ids=_padded(classes.class_ids[chosen], taken, NO_CLASS),
        support_counts=support,
        query_counts=query,
        support_rows=rows[in_support],
        query_rows=rows[~in_support],
        step=step,
    )


def _sources(
    head: np.ndarray, sources: int, spec: VariableSpec, key: int, start: int, step: int
) -> np.ndarray:
    """int64 [n]: the source of each episode, or of the first episode of its batch."""
    words = head[:, SOURCE]
    if (batch := spec.source_batch) is not None and sources > 1:
        number = (start % batch + step * np.arange(len(head))) // batch
        numbers, which = np.unique(number, return_inverse=True)
        firsts = ((start // batch + number) * batch for number in numbers.tolist())
        drawn = [episode_words(key, first, 1, spec.words)[0, SOURCE] for first in firsts]
        words = np.array(drawn, np.uint64)[which]
    weights = map(Fraction, spec.source_weights or (1,) * sources)
    *sums, total = accumulate(weights)
    # Rounded up, equal weights give what multiply-shift does.
    bounds = [min(2**64 - 1, -(-(2**64 * partial) // total)) for partial in sums]
    return np.searchsorted(np.array(bounds, np.uint64), words, side="right")


def _pools(
    head: np.ndarray, classes: PooledClasses, spec: VariableSpec, source: np.ndarray
) -> np.ndarray:
    """int64 [n]: the pool of each episode."""
    drawn = below(head[:, POOL], classes.pool_counts[source].astype(np.uint64)).astype(np.int64)
    pool = classes.first_pool[source] + drawn
    if spec.ignore_hierarchy_probability:
        ignored = fractions(head[:, HIERARCHY]) < spec.ignore_hierarchy_probability
        pool = np.where(ignored, classes.flat_pool[source], pool)
    return pool


def _ways(
    head: np.ndarray, classes: PooledClasses, spec: VariableSpec, pool: np.ndarray
) -> np.ndarray:
    """int64 [n]: the classes of each episode, at most the pool's."""
    if spec.way is not None:
        return np.full(len(pool), spec.way)
    most = np.minimum(spec.max_ways_upper_bound, classes.counts[pool])
    least = np.where(classes.draws_way[pool], np.minimum(spec.min_ways, most), most)
    return _from_range(head[:, WAYS], least, most)


def _counts(
    head: np.ndarray,
    weight_words: np.ndarray,
    spec: VariableSpec,
    sizes: np.ndarray,
    taken: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """int64 [n, W] twice: the support and query images of each class, 0 where there is none.

    Source: Meta-Dataset's compute_num_query, sample_support_set_size, sample_num_support_per_class.
    """
    smallest = np.where(taken, sizes, np.iinfo(np.int64).max).min(axis=1)
    shots = spec.shot_range
    if spec.query is not None:
        each = np.full(len(sizes), spec.query)
    else:
        left = smallest // 2 if shots is None else smallest - shots[1]
        each = np.minimum(spec.max_num_query, left)
    query = taken * each[:, np.newaxis]
    if shots is not None:
        least, most = np.array(shots)
        return taken * _from_range(head[:, SUPPORT], least, most)[:, np.newaxis], query

    left = sizes - query
    most = np.minimum(spec.max_support_size_contrib_per_class, left)
    shared = np.broadcast_to(head[:, SUPPORT, np.newaxis], taken.shape)
    contributions = taken * (1 + below(shared, most.astype(np.uint64)))
    total = np.minimum(spec.max_support_set_size, contributions.sum(axis=1).astype(np.int64))

    weights = _weights(weight_words, spec.max_log_weight - spec.min_log_weight) * sizes
    extra = total - taken.sum(axis=1)
    shares = weights * extra[:, np.newaxis] // weights.sum(axis=1, keepdims=True)
    return np.minimum(taken * (shares + 1), left), query


def _weights(words: np.ndarray, span: float) -> np.ndarray:
    """int64: 2**20 exp(-span * u), u uniform in [0, 1) from the words.

    Only shares of weights count, so the greatest is taken for 1. Integers, whose sums do not hang
    on their order; and the exponential, (1 - x + x^2/2 - ...)^64 of a 64th, is made of products and
    sums alone, which round alike everywhere, while NumPy's hangs on the processor in its last bits.
    """
    part = fractions(words) * (span / 2.0**HALVINGS)
    power = np.ones_like(part)
    for term in range(TERMS, 0, -1):
        power = 1 - part / term * power
    for _ in range(HALVINGS):
        power = power * power
    return (power * 2.0**WEIGHT_BITS).astype(np.int64)


def _from_range(words: np.ndarray, least: np.ndarray, most: np.ndarray) -> np.ndarray:
    """int64: uniform whole numbers from `least` to `most`, both among them."""
    return least + below(words, (most - least + 1).astype(np.uint64)).astype(np.int64)


def _padded(values: np.ndarray, taken: np.ndarray, empty: int) -> np.ndarray:
    padded = np.full(taken.shape, empty)
    padded[taken] = values
    return padded


def _offsets(counts: np.ndarray) -> np.ndarray:
    return np.concatenate(([0], np.cumsum(counts.sum(axis=1))))


def _labels(counts: np.ndarray) -> np.ndarray:
    labels = np.broadcast_to(np.arange(counts.shape[1]), counts.shape)
    return np.repeat(labels.reshape(-1), counts.reshape(-1))
