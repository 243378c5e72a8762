"""Training on the tasks that a sampler chooses, and telling it how they went."""

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from episodes import EpisodeBatch
from episodes.sampling import Sampler, TaskSpace
from trainers.algorithms import Adaptation
from trainers.group import Group
from trainers.learner import Learner
from trainers.look_ahead import LookAhead
from trainers.measures import measure
from trainers.outer_gradient import MetaBatch, OuterStep, outer_gradient
from trainers.tasks import RegressionBatch
from trainers.types import Params, Task, some_tasks

LOOK_AHEAD_START = 2**48
"""Fresh tasks for the look-ahead are the training stream's from here on."""

ClassFeatures = Callable[[Params], np.ndarray]


class SampledStream(TaskSpace, Protocol):
    """A stream whose tasks a sampler can choose among."""

    def batch(self, start: int, size: int) -> EpisodeBatch | RegressionBatch: ...

    def batch_of(self, identities: np.ndarray, start: int) -> EpisodeBatch | RegressionBatch: ...


class TaskSampling:
    """Outer gradients of the meta-batches that `sampler` draws from a stream.

    `identities` int64 [n, k] are the tasks of the last one.

    `seed` is that of the learner's draws for a task; `class_features` gives what samplers by
    features want, [C, d] at these weights.
    """

    def __init__(
        self,
        sampler: Sampler,
        stream: SampledStream,
        learner: Learner,
        seed: int,
        class_features: ClassFeatures,
        group: Group | None = None,
    ) -> None:
        self.sampler, self._stream, self._learner, self._seed = sampler, stream, learner, seed
        self._class_features, self._group = class_features, group or Group()
        self.identities = np.empty((0, 0), np.int64)

    def outer_gradient(
        self,
        how: Adaptation,
        params: Params,
        meta: Params,
        iteration: int,
        rate: float,
        order: Tensor | None = None,
    ) -> OuterStep:
        """Sets the gradients of iteration `iteration` (from 0), the outer rate being `rate`.

        `order` is as in `trainers.outer_gradient.MetaBatch`.
        """
        sampler, group = self.sampler, self._group
        if sampler.wants_class_features(iteration):
            sampler.feedback({"class_features": self._class_features(params)})
        proposal = sampler.propose(iteration)
        proposed = self._tasks(self._stream.batch_of(proposal.identities, proposal.start))
        measures = measure(sampler.measures, self._learner, params, meta, proposed, group)
        selection = sampler.select(measures)
        tasks = some_tasks(proposed, selection.chosen.tolist())
        self.identities = proposal.identities[selection.chosen]
        wanted = sampler.feedback_wanted & {"weight_gradients", "validation_loss"}
        if not wanted:
            step = outer_gradient(self._learner, how, params, meta, tasks, order, group)
            sampler.feedback(_outcome(step, tasks))
            return step
        batch = MetaBatch(self._learner, how, params, meta, tasks, group, order)
        ahead = LookAhead(self._learner, how, params, meta, self._fresh(iteration), rate, group)
        if "validation_loss" in wanted:
            step = batch.gradient()
            loss = ahead.validation_loss()
            sampler.feedback(_outcome(step, tasks) | {"validation_loss": _array(loss)})
            return step
        batch.adapt()
        probabilities = torch.as_tensor(selection.weights / len(selection.weights))
        gradients = ahead.weight_gradients(batch.task_gradients(), probabilities)
        sampler.feedback({"weight_gradients": _array(gradients)})
        weights = sampler.select(measures).weights  # By what the sampler has just learnt.
        return batch.gradient(torch.as_tensor(weights))

    def _fresh(self, iteration: int) -> Task:
        size = self.sampler.batch_size
        return self._tasks(self._stream.batch(LOOK_AHEAD_START + iteration * size, size))

    def _tasks(self, batch: EpisodeBatch | RegressionBatch) -> Task:
        return self._learner.tasks(batch, self._seed)


def _outcome(step: OuterStep, tasks: Task) -> dict[str, np.ndarray]:
    found = {"losses": _array(step.losses)}
    if not tasks.query_targets.is_floating_point():
        found["accuracies"] = _array(step.figures)
    return found


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().double().numpy()
