"""What an adaptation keeps for the outer gradient, estimated before it is needed."""

import weakref
from dataclasses import dataclass, replace
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from episodes.errors import UsageError
from trainers import combinations
from trainers.algorithms import Adaptation, Algorithm
from trainers.config import RunConfig
from trainers.learner import Learner
from trainers.sources import Source
from trainers.types import Params, Task

SMALL = 1_000_000
"""The numbers, pixels for the most part, that pass through the network in a small training step:
those of 47 images of 84 x 84."""

ROOM = 1.5
"""How many times the estimate must be free for a graph to be stored: with glibc told to keep freed
memory, Conv4 with 64 filters and 5 steps took 1.4 times as much."""


class Size(NamedTuple):
    """What the memory of a task grows with."""

    steps: int
    support: int
    query: int


def inner_graph(config: RunConfig, learner: Learner, source: Source, free: int | None) -> str:
    """What `--inner-graph` means for a training step in `free` bytes: `auto` is `recomputed` where
    a stored graph would not fit with `ROOM` and recomputing has a use, else `stored`.

    Small steps, regression, and what nobody knows the free memory of are not looked at. Raises
    UsageError where a step would not fit.
    """
    chosen = "stored" if config.inner_graph == "auto" else config.inner_graph
    steps, (support, query) = config.steps, source.most_images(config.training_shape)
    is_multi_step = config.multi_step or config.multi_step_epochs > 0
    passes = steps if is_multi_step and config.algo != "anil" else 1  # Of the query set.
    ties_tasks = learner.regularizer is not None or config.sampler == "adaptive"
    at_once = config.meta_batch_size if learner.training.batched or ties_tasks else 1
    passed = at_once * (steps * support + passes * query) * prod(source.input_shape)
    if passed < SMALL or source.is_regression or free is None or not config.iterations:
        return chosen
    params, meta = learner.initial(config.seed)

    def needed(graph: str) -> int:
        def of_task(is_recomputed: bool, size: Size) -> int:
            how = replace(learner.training, recomputed=is_recomputed)
            return task_bytes(learner.algorithm, how, params, meta, source.input_shape, size)

        if graph == "stored":
            return at_once * of_task(False, Size(steps, support, passes * query))
        between = of_task(True, Size(steps, support, query))
        return at_once * between + of_task(False, Size(1, support, query))

    found = needed(chosen)
    can_recompute = chosen == "stored" and not learner.training.batched
    can_recompute &= combinations.why_stored(config) is None
    if ROOM * found > free and config.inner_graph == "auto" and can_recompute:
        chosen, found = "recomputed", needed("recomputed")
    if found > free:
        order = "first" if config.first_order else "second"
        remedy = "--inner-graph recomputed or " if chosen == "stored" and can_recompute else ""
        raise UsageError(
            f"a training step can need {found / 1e9:.1f} GB, for {support} support and "
            f"{query} query images in {steps} steps of {order} order, and "
            f"{free / 1e9:.1f} GB are free: add {remedy}--first-order, or take fewer --steps, "
            "--filters or images"
        )
    return chosen


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
    step, in the support images. In first order a step's graph ends with it, so one step counts; of
    a graph that is to be recomputed, what is left between the passes.
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
    """The bytes of the different memories that the graph of the outer loss is seen to hold."""
    noted: list[weakref.ref[_Saved]] = []
    kept: list[_Saved] = []

    def note(tensor: Tensor) -> _Saved:
        saved = _Saved(tensor)
        noted.append(weakref.ref(saved))
        if not how.recomputed:  # A step's graph counts where it ends with the step.
            kept.append(saved)
        return saved

    with torch.autograd.graph.saved_tensors_hooks(note, lambda saved: saved.tensor):
        result = algorithm.run(how, params, meta, task)
    held = [saved.tensor.untyped_storage() for ref in noted if (saved := ref()) is not None]
    del result  # Until here it holds its graph.
    own = {tensor.untyped_storage().data_ptr() for tensor in (*params.values(), *meta.values())}
    sizes = {storage.data_ptr(): storage.nbytes() for storage in held}
    return sum(size for address, size in sizes.items() if address not in own)


@dataclass(frozen=True)
class _Saved:
    """A tensor in a graph, as long as the graph lives."""

    tensor: Tensor
