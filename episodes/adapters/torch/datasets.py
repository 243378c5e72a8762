"""Datasets for PyTorch's DataLoader: by index, and one after the other."""

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from episodes.adapters import framework
from episodes.adapters.torch.sharing import gathered_to_share
from episodes.adapters.torch.tensors import Item, Tensors, as_item, to_tensors
from episodes.adapters.torch.transforms import Transform
from episodes.episode import EpisodeBatch
from episodes.errors import UsageError
from episodes.prefetch import prefetched
from episodes.stream import Stream

if TYPE_CHECKING:
    import torch
else:
    torch = framework("torch", "torch")


class EpisodeDataset(torch.utils.data.Dataset[Item]):
    """Episodes `start` to start + count - 1 of a stream, by index.

    An item is a dict of tensors as `to_tensors` gives it, and then `transform`; with `tuples`, the
    tuple of its support images, support labels, query images and query labels. Use it with
    `collate`.
    """

    def __init__(
        self,
        stream: Stream,
        count: int,
        start: int = 0,
        tuples: bool = False,
        transform: Transform | None = None,
    ) -> None:
        if count < 0 or start < 0:
            raise UsageError(f"count {count} and start {start}: expected 0 or more")
        self.stream, self.count, self.start, self.tuples = stream, count, start, tuples
        self.transform = transform

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Item:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Item]:
        """Several items; what a DataLoader asks for. Consecutive ones are gathered at once."""
        first, size = int(indices[0]), len(indices)
        if min(indices) < 0 or max(indices) >= self.count:
            raise IndexError(f"episode {max(indices)} of {self.count}")
        if list(indices) == list(range(first, first + size)):
            batch = self.stream.batch(self.start + first, size)
            episodes = [batch[position] for position in range(size)]
        else:
            episodes = [self.stream[self.start + int(index)] for index in indices]
        items = map(to_tensors, episodes)
        if self.transform is not None:
            items = map(self.transform, items)
        return [as_item(item, self.tuples) for item in items]


class EpisodeIterable(torch.utils.data.IterableDataset[Item]):
    """The episodes of a stream from `start` to before `stop`, without end if that is None.

    It shares itself out over ranks (of torch.distributed, else of torchrun's environment; a share
    of a stream stays as it is) and over the workers of a DataLoader: every rank gets the batches
    that `stream.shard().loader(batch_size, start=start, stop=stop)` gives, in that order, whatever
    the number of workers. So batches are made here: give the DataLoader `batch_size=None`.
    Items are as in `EpisodeDataset`. Outside worker processes `threads` read ahead; `transform`
    runs where the items are asked for.
    """

    def __init__(
        self,
        stream: Stream,
        batch_size: int | None = None,
        *,
        start: int = 0,
        stop: int | None = None,
        threads: int = 1,
        tuples: bool = False,
        transform: Transform | None = None,
    ) -> None:
        if start < 0 or (batch_size is not None and batch_size < 1):
            raise UsageError(f"start {start} must be 0 or more, batch_size {batch_size} 1 or more")
        self.stream = stream if stream.world > 1 else stream.shard(*_rank_and_world())
        self.batch_size, self.start, self.stop = batch_size, start, stop
        self.threads, self.tuples, self.transform = threads, tuples, transform

    def __len__(self) -> int:
        """The number of items of this rank; TypeError without an end."""
        if self.stop is None:
            raise TypeError("episodes without stop have no length")
        mine = len(range(self.start + self.stream.rank, self.stop, self.stream.world))
        return -(-mine // (self.batch_size or 1))

    def __iter__(self) -> "EpisodeIterator":
        return EpisodeIterator(self)


class EpisodeIterator(Iterator[Item]):
    """One worker's items; its state is the whole stream's next episode that it has not given."""

    def __init__(self, dataset: EpisodeIterable) -> None:
        worker = torch.utils.data.get_worker_info()
        self._dataset, self._in_worker = dataset, worker is not None
        number, self._workers = (0, 1) if worker is None else (worker.id, worker.num_workers)
        self._batch = (dataset.batch_size or 1) * dataset.stream.world
        self._go_to(dataset.start + number * self._batch)

    def __next__(self) -> Item:
        tensors = next(self._items)
        self._next += self._workers * self._batch
        if self._dataset.transform is not None:
            tensors = self._dataset.transform(tensors)
        return as_item(tensors, self._dataset.tuples)

    def state_dict(self) -> dict[str, int]:
        """Where to go on, for JSON."""
        return {"next": self._next}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on where `state` says; raises UsageError for what is no state of such an iterator."""
        try:
            self._go_to(operator.index(state["next"]))
        except (KeyError, TypeError):
            raise UsageError(f"the state is {state!r}; expected {{'next': NUMBER}}") from None

    def _go_to(self, place: int) -> None:
        dataset, self._next = self._dataset, place
        readings = dataset.stream.readings(place, dataset.stop, dataset.batch_size or 1)
        mine = islice(readings, 0, None, self._workers)
        tasks = (lambda count=count, read=read: self._read(count, read) for count, read in mine)
        self._items = prefetched(tasks, 0 if self._in_worker else dataset.threads)

    def _read(self, count: int, read: Callable[..., EpisodeBatch]) -> Tensors:
        if self._in_worker:
            tensors = gathered_to_share(self._dataset.stream, count, read)
        else:
            tensors = to_tensors(read())
        if self._dataset.batch_size is None:
            return {name: tensor[0] for name, tensor in tensors.items()}
        return tensors


def _rank_and_world() -> tuple[int | None, int | None]:
    group = torch.distributed
    if group.is_available() and group.is_initialized():
        return group.get_rank(), group.get_world_size()
    return None, None
