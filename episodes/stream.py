"""Streams: the episodes of a split, by index, in batches, or one after the other."""

import hashlib
import itertools
import operator
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from episodes.errors import UsageError
from episodes.sampling import ClassTable, EpisodePlan, EpisodeSpec, PlanBatch
from episodes.sampling.rng import PLAN_VERSION, plan_key
from episodes.sampling.uniform import uniform_plans
from episodes.store import Store

EPISODES_PER_READ = 16
INDEX_END = 2**63 - 1


@dataclass(frozen=True)
class Episode:
    """One episode: uint8 images [n, H, W, C] and int64 labels [n] of its support and query sets."""

    support_images: np.ndarray
    support_labels: np.ndarray
    query_images: np.ndarray
    query_labels: np.ndarray
    class_ids: np.ndarray
    index: int
    source: int


@dataclass(frozen=True)
class EpisodeBatch:
    """Consecutive episodes: the arrays of `Episode` with a leading axis; `index` and `source` [n].

    The two image arrays are views of one buffer.
    """

    support_images: np.ndarray
    support_labels: np.ndarray
    query_images: np.ndarray
    query_labels: np.ndarray
    class_ids: np.ndarray
    index: np.ndarray
    source: np.ndarray

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, position: int) -> Episode:
        return Episode(
            support_images=self.support_images[position],
            support_labels=self.support_labels[position],
            query_images=self.query_images[position],
            query_labels=self.query_labels[position],
            class_ids=self.class_ids[position],
            index=int(self.index[position]),
            source=int(self.source[position]),
        )


class Stream:
    """All episodes of a split: episode i is a pure function of (class table, spec, seed, i).

    The same on every machine, for any number of threads, from any starting point. Over several
    stores each episode comes from one of them. Raises UsageError where the split has fewer classes
    than the way, or a class has fewer images than shot + query.
    """

    def __init__(self, stores: Sequence[Store], split: str, spec: EpisodeSpec, seed: int) -> None:
        if not stores:
            raise UsageError("a stream needs at least one store; found none")
        shapes = {store.image_shape for store in stores}
        if len(shapes) > 1:
            raise UsageError(
                f"the stores' image shapes differ ({shapes}); prepare them at one --size"
            )
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise UsageError(f"seed is {seed!r}; expected a whole number")
        self.stores, self.spec, self.seed = tuple(stores), spec, seed
        self.split = "+".join(dict.fromkeys(store.split_name(split) for store in stores))
        self._tables = [_class_table(store, split, spec) for store in stores]
        self._key = plan_key(seed, self.split, spec.canonical())
        self._support_labels = np.repeat(np.arange(spec.way), spec.shot)
        self._query_labels = np.repeat(np.arange(spec.way), spec.query)

    def __repr__(self) -> str:
        names = "+".join(store.name for store in self.stores)
        shape = f"{self.spec.way}-way {self.spec.shot}-shot {self.spec.query}-query"
        return f"Stream({names} {self.split}, {shape}, seed {self.seed})"

    def plans(self, start: int, count: int) -> PlanBatch:
        """The plans of episodes start .. start + count - 1."""
        start, count = operator.index(start), operator.index(count)
        if start < 0 or count < 0 or start + count > INDEX_END:
            raise UsageError(f"episodes {start} .. {start + count - 1}: indices are 0 to 2**63 - 2")
        return uniform_plans(self._tables, self.spec, self._key, start, count)

    def plan(self, index: int) -> EpisodePlan:
        """The plan of episode `index`, reached at once whatever the index."""
        plans = self.plans(index, 1)
        return EpisodePlan(
            index=index,
            source=int(plans.source[0]),
            class_ids=plans.class_ids[0],
            support_rows=plans.support_rows[0],
            support_labels=self._support_labels,
            query_rows=plans.query_rows[0],
            query_labels=self._query_labels,
        )

    def __getitem__(self, index: int) -> Episode:
        return self.batch(index, 1)[0]

    def batch(self, start: int, size: int) -> EpisodeBatch:
        """Episodes start .. start + size - 1, their images gathered into one new buffer."""
        plans = self.plans(start, size)
        rows = np.concatenate((plans.support_rows, plans.query_rows), axis=1)
        support_size = plans.support_rows.shape[1]
        images = np.empty((*rows.shape, *self.stores[0].image_shape), np.uint8)
        if len(self.stores) == 1:
            self.stores[0].images(rows.reshape(-1), images.reshape(-1, *images.shape[2:]))
        else:
            for position, source in enumerate(plans.source):
                self.stores[source].images(rows[position], images[position])
        return EpisodeBatch(
            support_images=images[:, :support_size],
            support_labels=np.tile(self._support_labels, (size, 1)),
            query_images=images[:, support_size:],
            query_labels=np.tile(self._query_labels, (size, 1)),
            class_ids=plans.class_ids,
            index=np.arange(start, start + size),
            source=plans.source,
        )

    def batches(
        self, size: int, start: int = 0, stop: int | None = None, threads: int = 1
    ) -> Iterator[EpisodeBatch]:
        """Batches of `size` episodes from `start` to before `stop` (default: without end).

        `threads` prefetch threads read ahead, one batch each and one more; the batches come in
        order and are the same for any number of threads. The last batch may be smaller.
        """
        if size < 1 or threads < 1:
            raise UsageError(f"size {size} and threads {threads} must both be 1 or more")
        starts = itertools.count(start, size) if stop is None else iter(range(start, stop, size))
        with ThreadPoolExecutor(threads, thread_name_prefix="episodes") as pool:
            ahead: deque[Future[EpisodeBatch]] = deque()
            try:
                while True:
                    for first in itertools.islice(starts, threads + 1 - len(ahead)):
                        last = first + size if stop is None else min(first + size, stop)
                        ahead.append(pool.submit(self.batch, first, last - first))
                    if not ahead:
                        return
                    yield ahead.popleft().result()
            finally:
                for future in ahead:
                    future.cancel()

    def iterate(
        self, start: int = 0, stop: int | None = None, threads: int = 1
    ) -> Iterator[Episode]:
        """Single episodes from `start` to before `stop` (default: without end), prefetched."""
        for batch in self.batches(EPISODES_PER_READ, start, stop, threads):
            for position in range(len(batch)):
                yield batch[position]

    def __iter__(self) -> Iterator[Episode]:
        return self.iterate()

    def fingerprint(self, count: int) -> str:
        """The hash by which a paper can cite the first `count` episodes, SHA-256 in hex.

        It covers the plan version, the stores' content digests, split, spec, seed and count, and
        the class and image ids of every episode.
        """
        digests = [store.digest for store in self.stores]
        header = (PLAN_VERSION, *digests, self.split, self.spec.canonical(), self.seed, count)
        fingerprint = hashlib.sha256("\n".join(map(str, header)).encode())
        for start in range(0, count, 256):
            plans = self.plans(start, min(256, count - start))
            for position, source in enumerate(plans.source):
                store = self.stores[source]
                rows = np.concatenate((plans.support_rows[position], plans.query_rows[position]))
                names = [store.class_names[index] for index in plans.class_ids[position]]
                line = "\t".join((str(source), *names, *store.ids(rows)))
                fingerprint.update(f"\n{line}".encode())
        return fingerprint.hexdigest()


def stream(
    stores: Store | Sequence[Store],
    split: str = "train",
    way: int = 5,
    shot: int = 1,
    query: int = 15,
    seed: int = 1,
    class_pool: Sequence[str] | None = None,
) -> Stream:
    """The stream of `way`-way, `shot`-shot episodes of a split of one store or of several.

    `split` is [SCHEME.]PART, such as "train" or "lake.test"; `class_pool` names the classes to keep
    to; `seed` is the episode seed, any whole number.
    """
    chosen = [stores] if isinstance(stores, Store) else list(stores)
    pool = None if class_pool is None else tuple(class_pool)
    return Stream(chosen, split, EpisodeSpec(way, shot, query, pool), seed)


def _class_table(store: Store, split: str, spec: EpisodeSpec) -> ClassTable:
    class_ids = store.split_classes(split)
    where = f"{store.name} {store.split_name(split)}"
    if spec.class_pool is not None:
        names = {store.class_names[index]: index for index in class_ids}
        if absent := [name for name in spec.class_pool if name not in names]:
            raise UsageError(f"class_pool names {absent[0]!r}, which is not in {where}")
        class_ids = np.array(sorted(names[name] for name in spec.class_pool), np.int64)
    if len(class_ids) < spec.way:
        raise UsageError(f"{where} has {len(class_ids)} classes; too few for way {spec.way}")
    sizes = store.class_sizes[class_ids]
    smallest = int(np.argmin(sizes))
    if sizes[smallest] < spec.shot + spec.query:
        raise UsageError(
            f"the class {store.class_names[class_ids[smallest]]!r} of {where} has "
            f"{sizes[smallest]} images; too few for shot {spec.shot} + query {spec.query}"
        )
    return ClassTable(class_ids, store.class_starts[class_ids], sizes)
