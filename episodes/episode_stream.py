"""What every stream of episodes does: it is numbered, shared out, batched, loaded and cited."""

import hashlib
import operator
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Generic, Protocol, Self, TypeVar

import numpy as np

from episodes.buffers import BufferPool
from episodes.episode import Episode, EpisodeBatch
from episodes.errors import UsageError
from episodes.loader import Loader
from episodes.prefetch import prefetched
from episodes.sampling import EpisodePlan
from episodes.sampling.rng import PLAN_VERSION, plan_key
from episodes.store import Store

EPISODES_PLANNED_AT_ONCE = 256
BYTES_GATHERED_AT_ONCE = 4 << 20
EPISODES_GATHERED_AT_ONCE = 64
BUFFERS = 8
INDEX_END = 2**63 - 1

EpisodeLoader = Loader[Episode] | Loader[EpisodeBatch]


class Spec(Protocol):
    """What an episode is made of."""

    def canonical(self) -> str:
        """The spec as one unambiguous line, which enters the random key."""


class Plans(Protocol):
    """Plans of several episodes, each of which has a source."""

    @property
    def source(self) -> np.ndarray: ...


class Reading(Protocol):
    """A batch of planned episodes, gathered when it is called."""

    def __len__(self) -> int: ...

    def __call__(self, out: np.ndarray | None = None) -> EpisodeBatch: ...


SpecT = TypeVar("SpecT", bound=Spec)
PlansT = TypeVar("PlansT", bound=Plans)


class EpisodeStream(ABC, Generic[SpecT, PlansT]):
    """All episodes of a split: episode i is a pure function of (class tables, spec, seed, i).

    The same on every machine, for any number of threads and ranks, from any starting point. Over
    several stores each episode comes from one of them. Of `world` shards, shard `rank` has every
    `world`-th episode; its `stream[j]` is episode j * world + rank of the whole. Raises UsageError
    where the split has not the classes and images that the spec needs.
    """

    def __init__(
        self,
        stores: Sequence[Store],
        split: str,
        spec: SpecT,
        seed: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        if not stores:
            raise UsageError("a stream needs at least one store; found none")
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise UsageError(f"seed is {seed!r}; expected a whole number")
        if not 0 <= rank < world:
            raise UsageError(f"rank {rank} of {world} shards; expected 0 to {world - 1}")
        self.stores, self.spec, self.seed = tuple(stores), spec, seed
        self.rank, self.world = rank, world
        self._split_asked_for = split
        self.split = "+".join(dict.fromkeys(store.split_name(split) for store in stores))
        self._key = plan_key(seed, self.split, spec.canonical())
        self._buffers = BufferPool(BUFFERS)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of every image."""
        return self.stores[0].image_shape

    @property
    @abstractmethod
    def _shape(self) -> str:
        """The shape of the episodes in words."""

    @property
    @abstractmethod
    def _most_images(self) -> int:
        """The most images that an episode can have."""

    @abstractmethod
    def _plans(self, start: int, count: int) -> PlansT:
        """The plans of `count` episodes of the whole stream: start, start + world, ..."""

    @abstractmethod
    def _plan(self, plans: PlansT, position: int) -> EpisodePlan:
        """One of the plans by itself."""

    @abstractmethod
    def _readings(self, plans: PlansT, size: int) -> Sequence[Reading]:
        """What gathers the planned episodes, `size` at once."""

    def __repr__(self) -> str:
        names = "+".join(store.name for store in self.stores)
        share = "" if self.world == 1 else f", shard {self.rank} of {self.world}"
        name = type(self).__name__
        return f"{name}({names} {self.split}, {self._shape}, seed {self.seed}{share})"

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_buffers": None}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state | {"_buffers": BufferPool(BUFFERS)})

    def shard(self, rank: int | None = None, world: int | None = None) -> Self:
        """The share of `rank` of `world`: disjoint shares, whose union is this stream.

        Without arguments, those of the environment that torchrun makes (RANK, WORLD_SIZE), else the
        whole. Raises UsageError for a rank that there is not, and of a stream that is a share.
        """
        if self.world > 1:
            raise UsageError(f"{self!r} is a share already: take shares of the whole stream")
        rank = _environment("RANK", 0) if rank is None else rank
        world = _environment("WORLD_SIZE", 1) if world is None else world
        return type(self)(self.stores, self._split_asked_for, self.spec, self.seed, rank, world)

    def plan(self, index: int) -> EpisodePlan:
        """The plan of episode `index`, reached at once whatever the index."""
        return self._plan(self.plans(index, 1), 0)

    def plans(self, start: int, count: int) -> PlansT:
        """The plans of episodes start .. start + count - 1."""
        start, count = self._checked(start, count)
        return self._plans(start * self.world + self.rank, count)

    def __getitem__(self, index: int) -> Episode:
        return self.batch(index, 1)[0]

    def batch(self, start: int, size: int, out: np.ndarray | None = None) -> EpisodeBatch:
        """Episodes start .. start + size - 1.

        Their images are gathered into `out`, uint8 [size, support + query, H, W, C], or else into a
        buffer of the stream's. Raises UsageError for an `out` of another type or shape.
        """
        return self._gathered(self.plans(start, size), size, out)

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

    def readings(self, first: int, stop: int | None, size: int) -> Iterator[tuple[int, Reading]]:
        """This share of the episodes `first` to before `stop` of the whole stream, `size` at once.

        Each reading says how many episodes it has, and gathers them when it is called, into `out`
        if that is given. Plans are made many at once.
        """
        at_once = max(1, EPISODES_PLANNED_AT_ONCE // size) * size
        position = first + self.rank
        while stop is None or position < stop:
            left = at_once if stop is None else len(range(position, stop, self.world))
            plans = self._plans(position, min(at_once, left))
            for reading in self._readings(plans, size):
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
            for plan in (self._plan(plans, position) for position in range(len(plans.source))):
                store = self.stores[plan.source]
                rows = np.concatenate((plan.support_rows, plan.query_rows))
                names = [store.class_names[index] for index in plan.class_ids]
                line = "\t".join((str(plan.source), *names, *store.ids(rows)))
                fingerprint.update(f"\n{line}".encode())
        return fingerprint.hexdigest()

    def _checked(self, start: int, count: int) -> tuple[int, int]:
        """As plain whole numbers; raises UsageError where no such episodes are."""
        start, count = operator.index(start), operator.index(count)
        last = (start + count) * self.world
        if start < 0 or count < 0 or last > INDEX_END:
            raise UsageError(f"episodes {start} .. {start + count - 1}: indices are 0 to 2**63 - 2")
        return start, count

    def _gathered(self, plans: PlansT, size: int, out: np.ndarray | None) -> EpisodeBatch:
        (reading,) = self._readings(plans, max(1, size))
        return reading(out)

    def _episodes_at_once(self) -> int:
        """As many as make a buffer that stays in the processor's caches, 1 at least."""
        episode_bytes = self._most_images * int(np.prod(self.image_shape))
        return max(1, min(EPISODES_GATHERED_AT_ONCE, BYTES_GATHERED_AT_ONCE // episode_bytes))


class _Singly:
    """A stream read an episode at a time."""

    def __init__(self, stream: EpisodeStream[SpecT, PlansT]) -> None:
        self._stream = stream
        self.rank, self.world = stream.rank, stream.world

    def readings(
        self, first: int, stop: int | None, size: int
    ) -> Iterator[tuple[int, Callable[[], Episode]]]:
        for count, read in self._stream.readings(first, stop, size):
            yield count, partial(_only, read)


def _only(read: Callable[[], EpisodeBatch]) -> Episode:
    return read()[0]


def _environment(name: str, default: int) -> int:
    value = os.environ.get(name, "")
    if value and not value.isdecimal():
        raise UsageError(f"{name} is {value!r} in the environment; expected a whole number")
    return int(value) if value else default
