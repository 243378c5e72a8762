"""What an episode is made of: its spec, the classes it is drawn from, and the plan that results."""

import json
from dataclasses import dataclass

import numpy as np

from episodes.errors import UsageError


@dataclass(frozen=True)
class EpisodeSpec:
    """The shape of an episode: `way` classes with `shot` support and `query` query images each.

    `shot` and `query` are one number for all classes, or a tuple of `way` numbers, one for each
    class in label order; a tuple of equal numbers is that number. `class_pool` restricts the
    classes of the split to these names. Raises UsageError for a way under 2, a shot or query under
    1, a tuple of another length, and a pool that names a class twice.
    """

    way: int
    shot: int | tuple[int, ...]
    query: int | tuple[int, ...]
    class_pool: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not _is_whole(self.way, 2):
            raise UsageError(f"way is {self.way!r}; expected a whole number of 2 or more")
        for name in ("shot", "query"):
            object.__setattr__(self, name, _counts(name, getattr(self, name), self.way))
        if self.class_pool is not None and len(set(self.class_pool)) != len(self.class_pool):
            raise UsageError("class_pool names a class more than once")

    def canonical(self) -> str:
        """The spec as one unambiguous line, which enters the random key."""
        fields: dict[str, object] = {"way": self.way, "shot": self.shot, "query": self.query}
        if self.class_pool is not None:
            fields["class_pool"] = sorted(self.class_pool)
        return json.dumps(fields, sort_keys=True, separators=(",", ":"))

    @property
    def support_counts(self) -> np.ndarray:
        """int64 [way]: the support images of each class, in label order."""
        return np.full(self.way, self.shot, np.int64)

    @property
    def query_counts(self) -> np.ndarray:
        """int64 [way]: the query images of each class, in label order."""
        return np.full(self.way, self.query, np.int64)

    @property
    def support_size(self) -> int:
        """The support images of an episode."""
        return int(self.support_counts.sum())

    @property
    def query_size(self) -> int:
        """The query images of an episode."""
        return int(self.query_counts.sum())

    @property
    def support_labels(self) -> np.ndarray:
        """int64 [support_size]: 0 to way - 1, in order."""
        return np.repeat(np.arange(self.way, dtype=np.int64), self.support_counts)

    @property
    def query_labels(self) -> np.ndarray:
        """int64 [query_size]: 0 to way - 1, in order."""
        return np.repeat(np.arange(self.way, dtype=np.int64), self.query_counts)


def _is_whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _counts(name: str, value: object, way: int) -> object:
    """`value` as a whole number, or as a tuple of `way` of them that differ."""
    if not isinstance(value, (tuple, list)):
        if not _is_whole(value, 1):
            raise UsageError(
                f"{name} is {value!r}; expected a whole number of 1 or more, or one for each class"
            )
        return value
    if len(value) != way:
        raise UsageError(
            f"{name} is {value!r}, {len(value)} numbers; expected one number, or one for each of "
            f"{way} classes"
        )
    if wrong := [count for count in value if not _is_whole(count, 1)]:
        raise UsageError(
            f"{name} is {value!r}; expected whole numbers of 1 or more, found {wrong[0]!r}"
        )
    return value[0] if len(set(value)) == 1 else tuple(value)


@dataclass(frozen=True)
class ClassTable:
    """The classes that episodes are drawn from: int64 [classes] ids, first rows and sizes."""

    class_ids: np.ndarray
    starts: np.ndarray
    sizes: np.ndarray


@dataclass(frozen=True)
class EpisodePlan:
    """Episode `index` as row numbers.

    `source` is the store's position in the stream. `class_ids` is int64 [way], `support_rows` int64
    [support] and `query_rows` int64 [query], both sorted by label; labels are int64, 0 to way - 1,
    in the order of `class_ids`.
    """

    index: int
    source: int
    class_ids: np.ndarray
    support_rows: np.ndarray
    support_labels: np.ndarray
    query_rows: np.ndarray
    query_labels: np.ndarray


@dataclass(frozen=True)
class PlanBatch:
    """Plans of n episodes: start, start + step, start + 2 step, ...

    int64 arrays: `source` [n], `class_ids` [n, way], `support_rows` [n, support] and `query_rows`
    [n, query], both sorted by label.
    """

    start: int
    source: np.ndarray
    class_ids: np.ndarray
    support_rows: np.ndarray
    query_rows: np.ndarray
    step: int = 1


def least_images(spec: EpisodeSpec) -> int:
    """The images that every class must have, because any class can get any label."""
    return int((spec.support_counts + spec.query_counts).max())
