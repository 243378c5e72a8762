"""Accuracy on a fixed set of episodes, with its 95 % interval."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from episodes.errors import UsageError
from trainers.algorithms.base import Algorithm, TaskResult
from trainers.rates.base import RateScheme
from trainers.types import Backbone, BatchNormMode, Params, Task, tasks_from_batch

if TYPE_CHECKING:
    from episodes import Stream


@dataclass(frozen=True)
class Evaluation:
    """What was measured on each episode, float64.

    `accuracies` `[episodes]` in 0..1; `losses` `[episodes]`, the mean query cross entropy; `rates`
    and `branches` `[episodes, steps]`, as in `trainers.inner_loop.Trace`.
    """

    accuracies: np.ndarray
    losses: np.ndarray
    rates: np.ndarray
    branches: np.ndarray

    @property
    def mean(self) -> float:
        """Mean accuracy, in 0..1."""
        return float(self.accuracies.mean())

    @property
    def interval(self) -> float:
        """Half the width of the 95 % interval of `mean`."""
        return confidence_interval(self.accuracies)


def confidence_interval(accuracies: np.ndarray) -> float:
    """Half the width of the 95 % interval of the mean: 1.96 * std / sqrt(T) over T episodes.

    The standard deviation divides by T, as in the papers' code.
    """
    return float(1.96 * np.std(accuracies) / np.sqrt(len(accuracies)))


def accuracy(result: TaskResult, task: Task) -> float:
    """The share of the task's query images that the adapted weights classify rightly."""
    return (result.query_logits.argmax(-1) == task.query_labels).cpu().double().mean().item()


def evaluate(
    algorithm: Algorithm,
    backbone: Backbone,
    scheme: RateScheme,
    meta: Params,
    params: Params,
    stream: Stream,
    episodes: int,
    steps: int,
    bn: BatchNormMode,
    device: torch.device | str,
    episodes_at_a_time: int,
    on_batch: Callable[[int], None] | None = None,
) -> Evaluation:
    """Adapt to the first `episodes` episodes of the stream, `steps` steps each, and classify.

    No weight changes and no graph is kept. `episodes_at_a_time` episodes are read at a time, which
    changes no number. `on_batch` is told how many episodes are done. Raises UsageError where
    `episodes` or `episodes_at_a_time` is below 1.
    """
    for name, value in (("episodes", episodes), ("episodes_at_a_time", episodes_at_a_time)):
        if value < 1:
            raise UsageError(f"evaluation: {name} is {value}, expected at least 1")
    dtype = next(iter(params.values())).dtype
    measured = []
    for batch in stream.batches(episodes_at_a_time, start=0, stop=episodes):
        for task in tasks_from_batch(batch, device, dtype):
            result = algorithm.run(backbone, scheme, meta, params, task, steps, bn, training=False)
            measured.append(
                (
                    accuracy(result, task),
                    result.query_loss.item(),
                    result.trace.rates.cpu().double().numpy(),
                    result.trace.branches.cpu().double().numpy(),
                )
            )
        if on_batch is not None:
            on_batch(len(measured))
    accuracies, losses, rates, branches = map(np.array, zip(*measured, strict=True))
    return Evaluation(accuracies, losses, rates, branches)
