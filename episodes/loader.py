"""A loader: a stream's items one after the other, prefetched, with a place to go on from."""

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Generic, Protocol, TypeVar

from episodes.errors import UsageError
from episodes.prefetch import prefetched

Item = TypeVar("Item")
Read = TypeVar("Read", covariant=True)


class Source(Protocol[Read]):
    """What a loader reads from: numbered items, of which a rank has every `world`-th."""

    @property
    def rank(self) -> int: ...

    @property
    def world(self) -> int: ...

    def readings(
        self, first: int, stop: int | None, size: int
    ) -> Iterable[tuple[int, Callable[[], Read]]]:
        """The rank's share of items `first` to before `stop`, `size` at once.

        Each reading says how many items it has, and gives them when it is called.
        """


class Loader(Generic[Item]):
    """The items of a stream from `start` to before `stop`, without end if that is None.

    Iterating goes on where the last iteration was left; a counted loader that is at its end begins
    again. The state is one number, the next item of the whole stream that nobody has consumed,
    given that all ranks are equally far: it can be taken up by any number of ranks and threads.
    """

    def __init__(
        self,
        source: Source[Item],
        size: int,
        *,
        start: int = 0,
        stop: int | None = None,
        threads: int = 1,
    ) -> None:
        self._source, self._size, self._threads = source, _at_least("size", size, 1), threads
        _at_least("threads", threads, 0)
        self._start = self._next = _at_least("start", start, 0)
        self._stop = None if stop is None else _at_least("stop", stop, self._start)

    def __iter__(self) -> Iterator[Item]:
        if self._stop is not None and self._next >= self._stop:
            self._next = self._start
        begun = consumed = self._next
        readings = self._source.readings(begun, self._stop, self._size)
        counts: list[int] = []

        def tasks() -> Iterator[Callable[[], Item]]:
            for count, read in readings:
                counts.append(count)
                yield read

        for item in prefetched(tasks(), self._threads):
            consumed += counts.pop(0) * self._source.world
            self._next = consumed if self._stop is None else min(consumed, self._stop)
            yield item
        if self._stop is not None:
            self._next = self._stop

    def __len__(self) -> int:
        """The number of items that an iteration from the start gives; TypeError without an end."""
        if self._stop is None:
            raise TypeError("a loader without stop has no length")
        mine = len(range(self._start + self._source.rank, self._stop, self._source.world))
        return -(-mine // self._size)

    def state_dict(self) -> dict[str, int]:
        """Where to go on, for JSON."""
        return {"next": self._next}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on where `state` says; raises UsageError for what is no state of such a loader."""
        try:
            place = operator.index(state["next"])
        except (KeyError, TypeError):
            raise UsageError(f"the state is {state!r}; expected {{'next': NUMBER}}") from None
        if place < self._start or (self._stop is not None and place > self._stop):
            raise UsageError(
                f"the state is {state!r}; this loader has {self._start} .. {self._stop}"
            )
        self._next = place


def _at_least(name: str, value: int, least: int) -> int:
    number = operator.index(value)
    if number < least:
        raise UsageError(f"{name} is {number}; expected {least} or more")
    return number
