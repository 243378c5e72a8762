"""A metric on a fixed set of episodes, with its 95 % interval."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass

import numpy as np
import torch
from torch import Tensor

from trainers.algorithms import Adaptation, Algorithm, TaskResult
from trainers.metrics import Metric
from trainers.padding import one_by_one
from trainers.tasks.metrics import confidence_interval
from trainers.types import Params, Task


@dataclass(frozen=True)
class Evaluation:
    """What was measured on each episode, float64.

    `figures` `[episodes]` are the metric's; `losses` `[episodes]`, the mean query losses; `rates`
    `[episodes, steps]` or `[episodes, steps, M]`, `branches` and `support_losses` `[episodes,
    steps]`, and `grad_norms` `[episodes, steps, M]`, as in `trainers.inner_loop.Trace`.
    """

    figures: np.ndarray
    losses: np.ndarray
    rates: np.ndarray
    branches: np.ndarray
    support_losses: np.ndarray
    grad_norms: np.ndarray

    @property
    def mean(self) -> float:
        """Mean of the figures."""
        return float(self.figures.mean())

    @property
    def interval(self) -> float:
        """Half the width of the 95 % interval of `mean`."""
        return confidence_interval(self.figures)


def joined(parts: Sequence[tuple[Sequence[int], Evaluation | None]]) -> Evaluation:
    """The evaluations of several ranks, each with the numbers of its episodes, in their order."""
    there = [(places, found) for places, found in parts if found is not None]
    order = np.argsort(np.concatenate([places for places, _ in there]))
    columns = zip(*(astuple(found) for _, found in there), strict=True)
    return Evaluation(*(np.concatenate(column)[order] for column in columns))


def evaluate(
    algorithm: Algorithm,
    how: Adaptation,
    params: Params,
    meta: Params,
    batches: Iterable[Task],
    metric: Metric,
    on_batch: Callable[[int], None] | None = None,
) -> Evaluation:
    """Adapt to each task of the batches as `how` says, and measure its query set.

    No weight changes and no graph is kept. `on_batch` is told how many tasks are done.
    """
    columns: list[tuple[np.ndarray, ...]] = []
    done = 0
    for tasks in batches:
        for result, targets in _results(algorithm, how, params, meta, tasks):
            figures = metric.of(result.outputs, targets)
            losses, rates, branches, grad_norms = result.trace
            measured = (figures, result.query_loss, rates, branches, losses, grad_norms)
            columns.append(tuple(tensor.cpu().double().numpy() for tensor in measured))
        done += len(tasks.support_targets)
        if on_batch is not None:
            on_batch(done)
    joined = np.concatenate if how.batched else np.stack
    return Evaluation(*(joined(column) for column in zip(*columns, strict=True)))


def _results(
    algorithm: Algorithm, how: Adaptation, params: Params, meta: Params, tasks: Task
) -> Iterable[tuple[TaskResult, Tensor]]:
    """Results with the targets that they are measured by: of all tasks at once, or of each."""
    with torch.no_grad():
        if how.batched:
            yield algorithm.run_batch(how, params, meta, tasks), tasks.query_targets
        else:
            for how_alone, task in one_by_one(how, tasks):
                yield algorithm.run(how_alone, params, meta, task), task.query_targets
