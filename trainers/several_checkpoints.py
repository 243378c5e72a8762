"""Several of a run's best checkpoints evaluated as one, as some papers report it."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from episodes.errors import UsageError
from trainers.algorithms import Adaptation, Algorithm, TaskResult
from trainers.evaluation import Evaluation
from trainers.learner import Learner
from trainers.outer_state import Position
from trainers.run_directory import RunDirectory
from trainers.types import ParamInfo, Params, Role, Task

Weights = tuple[Params, Params]

CHOICES = {"best": 1, "top10-mean": 10, "top5-ensemble": 5}
"""How a run's checkpoints are chosen -> the most that are."""


def ranked(directory: RunDirectory, position: Position, choice: str) -> list[tuple[Path, int]]:
    """The best checkpoints by validation, the best first, with their iterations.

    Raises UsageError where none was validated.
    """
    if not position.best:
        raise UsageError(
            f"{directory.path} validated no checkpoint, of which --checkpoints {choice} takes the "
            "best: use --checkpoints best"
        )
    iterations = [iteration for _, iteration in position.best[: CHOICES[choice]]]
    return [(directory.best_checkpoint(iteration), iteration) for iteration in iterations]


def mean_of(evaluations: Sequence[Evaluation]) -> Evaluation:
    """Each figure averaged over evaluations on the same episodes (the lineage of MLPLR's code)."""
    columns = (
        np.mean([getattr(found, field.name) for found in evaluations], axis=0)
        for field in fields(Evaluation)
    )
    return Evaluation(*columns)


def ensemble(learner: Learner, weights: Sequence[Weights]) -> Learner:
    """The learner whose outputs are the mean of the weights' (ALFA's code averages logits so)."""
    return replace(learner, algorithm=Ensemble(learner.algorithm, tuple(weights)))


@dataclass(frozen=True, eq=False)
class Ensemble(Algorithm):
    """An algorithm run from each of several weights, whatever it is given, for its mean outputs."""

    algorithm: Algorithm
    weights: tuple[Weights, ...]

    def adapts(self, role: Role) -> bool:
        """As the algorithm's."""
        return self.algorithm.adapts(role)

    @property
    def draws_noise(self) -> bool:
        """As the algorithm's."""
        return self.algorithm.draws_noise

    def noise(self, infos: Sequence[ParamInfo], generator: torch.Generator) -> Params:
        """As the algorithm's: all weights see the same."""
        return self.algorithm.noise(infos, generator)

    def run(self, how: Adaptation, params: Params, meta: Params, task: Task) -> TaskResult:
        """The results with the mean of outputs and losses, and the trace of the first weights."""
        return _mean([self.algorithm.run(how, *each, task) for each in self.weights])

    def run_batch(self, how: Adaptation, params: Params, meta: Params, tasks: Task) -> TaskResult:
        """As `run`, of all tasks at once."""
        return _mean([self.algorithm.run_batch(how, *each, tasks) for each in self.weights])


def _mean(results: Sequence[TaskResult]) -> TaskResult:
    def mean(tensors: Sequence[Tensor]) -> Tensor:
        return torch.stack(list(tensors)).mean(0)

    return results[0]._replace(
        outputs=mean([result.outputs for result in results]),
        query_loss=mean([result.query_loss for result in results]),
    )
