"""Streams: the episodes of a split, by index, in batches, or one after the other."""

import hashlib
import operator
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

from episodes.buffers import BufferPool
from episodes.class_tables import class_table
from episodes.episode import Episode, EpisodeBatch
from episodes.errors import UsageError
from episodes.gathering import readings
from episodes.loader import Loader
from episodes.prefetch import prefetched
from episodes.sampling import EpisodePlan, EpisodeSpec, PlanBatch
from episodes.sampling.rng import PLAN_VERSION, plan_key
from episodes.sampling.uniform import uniform_plans
from episodes.store import Store

__all__ = ["Episode", "EpisodeBatch", "EpisodeLoader", "Stream", "stream"]

EPISODES_PLANNED_AT_ONCE = 256
BYTES_GATHERED_AT_ONCE = 4 << 20
EPISODES_GATHERED_AT_ONCE = 64
BUFFERS = 8
INDEX_END = 2**63 - 1

EpisodeLoader = Loader[Episode] | Loader[EpisodeBatch]


class Stream:
    """All episodes of a split: episode i is a pure function of (class table, spec, seed, i).

    The same on every machine, for any number of threads and ranks, from any starting point. Over
    several stores each episode comes from one of them. Of `world` shards, shard `rank` has every
    `world`-th episode; its `stream[j]` is episode j * world + rank of the whole. Raises UsageError
    where the split has fewer classes than the way, or a class has too few images.
    """

    def __init__(
        self,
        stores: Sequence[Store],
        split: str,
        spec: EpisodeSpec,
        seed: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        if not stores:
            raise UsageError("a stream needs at least one store; found none")
        shapes = {store.image_shape for store in stores}
        if len(shapes) > 1:
            raise UsageError(
                f"the stores' image shapes differ ({shapes}); prepare them at one --size"
            )
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise UsageError(f"seed is {seed!r}; expected a whole number")
        if not 0 <= rank < world:
            raise UsageError(f"rank {rank} of {world} shards; expected 0 to {world - 1}")
        self.stores, self.spec, self.seed = tuple(stores), spec, seed
        self.rank, self.world = rank, world
        self._split_asked_for = split
        self.split = "+".join(dict.fromkeys(store.split_name(split) for store in stores))
        self.class_tables = tuple(class_table(store, split, spec) for store in stores)
        self._key = plan_key(seed, self.split, spec.canonical())
        self._support_labels = np.repeat(np.arange(spec.way), spec.support_counts)
        self._query_labels = np.repeat(np.arange(spec.way), spec.query_counts)
        self._buffers = BufferPool(BUFFERS)

    def __repr__(self) -> str:
        names = "+".join(store.name for store in self.stores)
        shape = f"{self.spec.way}-way {self.spec.shot}-shot {self.spec.query}-query"
        share = "" if self.world == 1 else f", shard {self.rank} of {self.world}"
        return f"Stream({names} {self.split}, {shape}, seed {self.seed}{share})"

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_buffers": None}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state | {"_buffers": BufferPool(BUFFERS)})

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of every image."""
        return self.stores[0].image_shape

    def shard(self, rank: int | None = None, world: int | None = None) -> "Stream":
        """The share of `rank` of `world`: disjoint shares, whose union is this stream.

        Without arguments, those of the environment that torchrun makes (RANK, WORLD_SIZE), else the
        whole. Raises UsageError for a rank that there is not, and of a stream that is a share.
        """
        if self.world > 1:
            raise UsageError(f"{self!r} is a share already: take shares of the whole stream")
        rank = _environment("RANK", 0) if rank is None else rank
        world = _environment("WORLD_SIZE", 1) if world is None else world
        return Stream(self.stores, self._split_asked_for, self.spec, self.seed, rank, world)

    def plans(self, start: int, count: int) -> PlanBatch:
        """The plans of episodes start .. start + count - 1."""
        start, count = operator.index(start), operator.index(count)
        last = (start + count) * self.world
        if start < 0 or count < 0 or last > INDEX_END:
            raise UsageError(f"episodes {start} .. {start + count - 1}: indices are 0 to 2**63 - 2")
        return self._plans(start * self.world + self.rank, count)

    def plan(self, index: int) -> EpisodePlan:
        """The plan of episode `index`, reached at once whatever the index."""
        plans = self.plans(index, 1)
        return EpisodePlan(
            index=plans.start,
            source=int(plans.source[0]),
            class_ids=plans.class_ids[0],
            support_rows=plans.support_rows[0],
            support_labels=self._support_labels,
            query_rows=plans.query_rows[0],
            query_labels=self._query_labels,
        )

    def __getitem__(self, index: int) -> Episode:
        return self.batch(index, 1)[0]

    def batch(self, start: int, size: int, out: np.ndarray | None = None) -> EpisodeBatch:
        """Episodes start .. start + size - 1.

        Their images are gathered into `out`, uint8 [size, support + query, H, W, C], or else into a
        buffer of the stream's. Raises UsageError for an `out` of another type or shape.
        """
        plans = self.plans(start, size)
        (reading,) = readings(self.stores, self.spec, plans, max(1, size), self._buffers)
        return reading(out)

    def batches(
        self, size: int, start: int = 0, stop: int | None = None, threads: int = 1
    ) -> Iterator[EpisodeBatch]:
        """Batches of `size` episodes from `start` to before `stop` (default: without end).

        `threads` threads read ahead, one batch each and three more, and so does the caller where it
        would only wait; with 0 each batch is read when it is asked for. The batches come in order
        and are the same for any number of threads. The last batch may be smaller.
        """
        if size < 1 or threads < 0:
            raise UsageError(f"size {size}, threads {threads}; expected 1 or more, and 0 or more")
        first, end = start * self.world, None if stop is None else stop * self.world
        return prefetched((read for _, read in self.readings(first, end, size)), threads)

    def iterate(
        self, start: int = 0, stop: int | None = None, threads: int = 1
    ) -> Iterator[Episode]:
        """Single episodes from `start` to before `stop` (default: without end), prefetched."""
        for batch in self.batches(self._episodes_at_once(), start, stop, threads):
            for position in range(len(batch)):
                yield batch[position]

    def __iter__(self) -> Iterator[Episode]:
        return self.iterate()

    def loader(
        self,
        batch_size: int | None = None,
        *,
        start: int = 0,
        stop: int | None = None,
        threads: int = 1,
    ) -> EpisodeLoader:
        """A loader of this share of the whole stream's episodes from `start` to before `stop`.

        It gives batches of `batch_size`, or single episodes if that is None; see `Loader` for its
        state.
        """
        if batch_size is None:
            return Loader(_Singly(self), 1, start=start, stop=stop, threads=threads)
        return Loader(self, batch_size, start=start, stop=stop, threads=threads)

    def readings(
        self, first: int, stop: int | None, size: int
    ) -> Iterator[tuple[int, Callable[..., EpisodeBatch]]]:
        """This share of the episodes `first` to before `stop` of the whole stream, `size` at once.

        Each reading says how many episodes it has, and gathers them when it is called, into `out`
        if that is given. Plans are made many at once.
        """
        at_once = max(1, EPISODES_PLANNED_AT_ONCE // size) * size
        position = first + self.rank
        while stop is None or position < stop:
            left = at_once if stop is None else len(range(position, stop, self.world))
            plans = self._plans(position, min(at_once, left))
            for reading in readings(self.stores, self.spec, plans, size, self._buffers):
                yield len(reading), reading
            position += len(plans.source) * self.world

    def fingerprint(self, count: int) -> str:
        """The hash by which a paper can cite the first `count` episodes, SHA-256 in hex.

        It covers the plan version, the stores' content digests, split, spec, seed and count, and
        the class and image ids of every episode. Raises UsageError for a share of a stream.
        """
        if self.world > 1:
            raise UsageError(f"{self!r} has no fingerprint: take that of the whole stream")
        digests = [store.digest for store in self.stores]
        header = (PLAN_VERSION, *digests, self.split, self.spec.canonical(), self.seed, count)
        fingerprint = hashlib.sha256("\n".join(map(str, header)).encode())
        for start in range(0, count, EPISODES_PLANNED_AT_ONCE):
            plans = self.plans(start, min(EPISODES_PLANNED_AT_ONCE, count - start))
            for position, source in enumerate(plans.source):
                store = self.stores[source]
                rows = np.concatenate((plans.support_rows[position], plans.query_rows[position]))
                names = [store.class_names[index] for index in plans.class_ids[position]]
                line = "\t".join((str(source), *names, *store.ids(rows)))
                fingerprint.update(f"\n{line}".encode())
        return fingerprint.hexdigest()

    def _plans(self, start: int, count: int) -> PlanBatch:
        return uniform_plans(self.class_tables, self.spec, self._key, start, count, self.world)

    def _episodes_at_once(self) -> int:
        """As many as make a buffer that stays in the processor's caches, 1 at least."""
        images = len(self._support_labels) + len(self._query_labels)
        episode_bytes = images * int(np.prod(self.image_shape))
        return max(1, min(EPISODES_GATHERED_AT_ONCE, BYTES_GATHERED_AT_ONCE // episode_bytes))


class _Singly:
    """A stream read an episode at a time."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.rank, self.world = stream.rank, stream.world

    def readings(
        self, first: int, stop: int | None, size: int
    ) -> Iterator[tuple[int, Callable[[], Episode]]]:
        for count, read in self._stream.readings(first, stop, size):
            yield count, partial(_only, read)


def stream(
    stores: Store | Sequence[Store],
    split: str = "train",
    way: int = 5,
    shot: int | Sequence[int] = 1,
    query: int | Sequence[int] = 15,
    seed: int = 1,
    class_pool: Sequence[str] | None = None,
) -> Stream:
    """The stream of `way`-way, `shot`-shot episodes of a split of one store or of several.

    `split` is [SCHEME.]PART, such as "train", "lake.test" or "train+val"; `shot` and `query` are
    the images of each class, or one number for each of the `way` classes; `class_pool` names the
    classes to keep to; `seed` is the episode seed, any whole number.
    """
    chosen = [stores] if isinstance(stores, Store) else list(stores)
    pool = None if class_pool is None else tuple(class_pool)
    counts = [tuple(n) if isinstance(n, Sequence) else n for n in (shot, query)]
    return Stream(chosen, split, EpisodeSpec(way, counts[0], counts[1], pool), seed)


def _only(read: Callable[[], EpisodeBatch]) -> Episode:
    return read()[0]


def _environment(name: str, default: int) -> int:
    value = os.environ.get(name, "")
    if value and not value.isdecimal():
        raise UsageError(f"{name} is {value!r} in the environment; expected a whole number")
    return int(value) if value else default
