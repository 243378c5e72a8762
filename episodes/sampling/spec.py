"""What an episode is made of: its spec, the classes it is drawn from, and the plan that results."""

import json
from dataclasses import dataclass

import numpy as np

from episodes.errors import UsageError


@dataclass(frozen=True)
class EpisodeSpec:
    """The shape of an episode: `way` classes with `shot` support and `query` query images each.

    `class_pool` restricts the classes of the split to these names. Raises UsageError for a way
    under 2, a shot or query under 1, and a pool that names a class twice.
    """

    way: int
    shot: int
    query: int
    class_pool: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for name, least in (("way", 2), ("shot", 1), ("query", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise UsageError(f"{name} is {value!r}; expected a whole number of {least} or more")
        if self.class_pool is not None and len(set(self.class_pool)) != len(self.class_pool):
            raise UsageError("class_pool names a class more than once")

    def canonical(self) -> str:
        """The spec as one unambiguous line, which enters the random key."""
        fields: dict[str, object] = {"way": self.way, "shot": self.shot, "query": self.query}
        if self.class_pool is not None:
            fields["class_pool"] = sorted(self.class_pool)
        return json.dumps(fields, sort_keys=True, separators=(",", ":"))


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
    [way * shot] and `query_rows` int64 [way * query], both sorted by label; labels are int64,
    0 to way - 1, in the order of `class_ids`.
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
    """Plans of consecutive episodes.

    int64 arrays: `source` [n], `class_ids` [n, way], `support_rows` [n, way * shot], `query_rows`
    [n, way * query]; n episodes from `start`.
    """

    start: int
    source: np.ndarray
    class_ids: np.ndarray
    support_rows: np.ndarray
    query_rows: np.ndarray
