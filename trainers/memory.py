"""What an adaptation keeps for the outer gradient, estimated before it is needed."""

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from episodes.errors import UsageError
from trainers.algorithms import Adaptation, Algorithm
from trainers.config import RunConfig
from trainers.learner import Learner
from trainers.sources import Source
from trainers.types import Params, Task

LARGE_SUPPORT = 100


class Size(NamedTuple):
    """What the memory of a task grows with."""

    steps: int
    support: int
    query: int


def check(config: RunConfig, learner: Learner, source: Source, free: int | None) -> None:
    """Raises UsageError where a training step on large support sets would not fit in `free` bytes.

    Small support sets, and what nobody knows the free memory of, are not looked at.
    """
    support, query = source.most_images(config.training_shape)
    if support < LARGE_SUPPORT or free is None or not config.iterations:
        return
    size = Size(config.steps, support, query)
    params, meta = learner.initial(config.seed)
    ties_tasks = learner.regularizer is not None or config.sampler == "adaptive"
    at_once = config.meta_batch_size if learner.training.batched or ties_tasks else 1
    needed = at_once * task_bytes(
        learner.algorithm, learner.training, params, meta, source.input_shape, size
    )
    if needed > free:
        order = "first" if config.first_order else "second"
        raise UsageError(
            f"a training step can need {needed / 1e9:.1f} GB, for {support} support and {query} "
            f"query images in {config.steps} steps of {order} order, and {free / 1e9:.1f} GB are "
            "free: add --first-order, or take fewer --steps, --filters or images"
        )


def task_bytes(
    algorithm: Algorithm,
    how: Adaptation,
    params: Params,
    meta: Params,
    input_shape: tuple[int, ...],
    size: Size,
) -> int:
    """The bytes that one task of this size keeps between its forward and its backward pass.

    What autograd saves of small tasks is counted: it is linear in the query images, and, step for
    step, in the support images. In first order a step's graph ends with it, so one step counts.
    """
    small = replace(how, way=2, batched=False, padded=False, query_weights=None)
    steps = size.steps if how.second_order else min(size.steps, 1)

    def saved(steps: int, support: int, query: int) -> int:
        task = _task(input_shape, support, query, next(iter(params.values())))
        return _saved(algorithm, replace(small, steps=steps), params, meta, task)

    first = min(steps, 1)
    least = saved(first, 2, 2)
    of_support = (saved(first, 4, 2) - least) // 2
    of_query = (saved(first, 2, 4) - least) // 2
    found = least + (size.support - 2) * of_support + (size.query - 2) * of_query
    if steps > 1:
        of_step = saved(2, 2, 2) - least
        of_step_and_image = (saved(2, 4, 2) - saved(2, 2, 2)) // 2 - of_support
        found += (steps - 1) * (of_step + (size.support - 2) * of_step_and_image)
    return found


def _task(input_shape: tuple[int, ...], support: int, query: int, like: Tensor) -> Task:
    """A task of two classes, with random images."""
    generator = torch.Generator().manual_seed(0)

    def images(count: int) -> tuple[Tensor, Tensor]:
        drawn = torch.rand((count, *input_shape), generator=generator).to(like)
        return drawn, torch.arange(count, device=like.device) % 2

    return Task(*images(support), *images(query))


def _saved(algorithm: Algorithm, how: Adaptation, params: Params, meta: Params, task: Task) -> int:
    """The bytes of the different memories that the graph of the outer loss holds."""
    held: dict[int, int] = {}
    own = {tensor.untyped_storage().data_ptr() for tensor in (*params.values(), *meta.values())}
    kept: list[Tensor] = []  # Else an address could be used again.

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            held[storage.data_ptr()] = storage.nbytes()
            kept.append(tensor.detach())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        algorithm.run(how, params, meta, task)
    return sum(held.values())
