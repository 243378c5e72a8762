"""The processes that share a run's tasks: one alone, or the ranks of `torch.distributed`."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from episodes.errors import UsageError
from trainers.types import Params

T = TypeVar("T")


class Group:
    """A process among `world`, of which each has a share of every meta-batch; alone by default.

    All ranks must make the same calls in the same order, with as many tasks each.
    """

    def __init__(self, rank: int = 0, world: int = 1) -> None:
        self.rank, self.world = rank, world

    @classmethod
    def current(cls) -> "Group":
        """That of `torch.distributed`, where it is initialised."""
        if not (dist.is_available() and dist.is_initialized()):
            return cls()
        return cls(dist.get_rank(), dist.get_world_size())

    @property
    def is_first(self) -> bool:
        """Whether this is the rank that writes."""
        return self.rank == 0

    def wait(self) -> None:
        """Until all ranks are here."""
        if self.world > 1:
            dist.barrier()

    def of_first(self, make: Callable[[], T]) -> T:
        """What `make` gives the first rank, on every rank; the others do not call it."""
        if self.world == 1:
            return make()
        told = [make() if self.is_first else None]
        dist.broadcast_object_list(told, src=0)
        return cast(T, told[0])

    def collected(self, own: T) -> list[T]:
        """Each rank's object, in the order of ranks."""
        if self.world == 1:
            return [own]
        found: list[T | None] = [None] * self.world
        dist.all_gather_object(found, own)
        return cast(list[T], found)

    def share(self, count: int) -> list[int]:
        """This rank's positions of `count`; raises UsageError where the ranks' would differ in
        number."""
        if count % self.world:
            raise UsageError(
                f"{count} tasks cannot be shared out evenly among {self.world} ranks: "
                f"choose a multiple of {self.world}"
            )
        return list(range(self.rank, count, self.world))

    def gathered(self, own: Tensor) -> Tensor:
        """The rows `[count, ...]` of all ranks from each one's share `[count / world, ...]`."""
        if self.world == 1:
            return own
        if not own.numel():
            return own.new_empty(len(own) * self.world, *own.shape[1:])
        parts = [torch.empty_like(own) for _ in range(self.world)]
        dist.all_gather(parts, own.detach().contiguous())
        return torch.stack(parts, 1).flatten(0, 1)

    def gathered_params(self, own: Params) -> Params:
        """`gathered` of each tensor."""
        return {name: self.gathered(own[name]) for name in sorted(own)}

    def sum_(self, tensors: Iterable[Tensor]) -> None:
        """Put the sum over the ranks in the place of each tensor."""
        if self.world == 1:
            return
        for tensor in tensors:
            dist.all_reduce(tensor)

    def sum_gradients(self, tensors: Sequence[Tensor]) -> None:
        """The same of the gradients; a tensor that has none on one rank may have one on another."""
        if self.world == 1:
            return
        has = torch.tensor([tensor.grad is not None for tensor in tensors], dtype=torch.float32)
        self.sum_([has])
        for tensor, anywhere in zip(tensors, has.tolist(), strict=True):
            if anywhere and tensor.grad is None:
                tensor.grad = torch.zeros_like(tensor)
        self.sum_(tensor.grad for tensor in tensors if tensor.grad is not None)


@contextmanager
def ranks() -> Iterator[Group]:
    """The ranks that torchrun started, by its environment; else this process alone.

    They talk by NCCL about what is on GPUs, of which each rank takes that of its local number, and
    by Gloo otherwise.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Group()
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    store, rank, world = next(rendezvous("env://"))
    dist.init_process_group(store=_of_this_start(store), rank=rank, world_size=world)
    try:
        yield Group.current()
    finally:
        dist.destroy_process_group()


def is_restarted() -> bool:
    """Whether torchrun started these processes again, after others that failed."""
    return _restarts() > 0


def _restarts() -> int:
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def _of_this_start(store: dist.Store) -> dist.Store:
    """The store without what earlier starts left in it.

    torchrun keeps one store over its restarts; ranks that find the addresses of those that died
    wait for them, or fail. On several nodes each counts its own restarts, so that there the numbers
    of the ranks may differ, and the store stays as it is.
    """
    if os.environ.get("GROUP_WORLD_SIZE", "1") != "1":
        return store
    return dist.PrefixStore(f"start {_restarts()}", store)
