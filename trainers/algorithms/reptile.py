"""Reptile: the initial weights move towards the adapted ones."""

from dataclasses import dataclass, replace

import torch

from trainers.algorithms.base import TaskResult, named_moments
from trainers.algorithms.maml import MAML
from trainers.algorithms.passes import Adaptation, squared_distance
from trainers.types import Params, Task


@dataclass(frozen=True)
class Reptile(MAML):
    """theta + epsilon * mean(theta_S - theta), no outer derivative (Nichol et al. 2018, eq. 2).

    The outer loss is |theta - theta_S|^2 / 2 with theta_S a constant: its gradient is theta -
    theta_S, so that gradient descent at the rate epsilon is Reptile's step. Unlike the authors'
    code, each inner step sees the whole support set, and no optimiser's state outlives a task. The
    query set is measured only.
    """

    def fit(
        self, how: Adaptation, params: Params, meta: Params, task: Task
    ) -> tuple[Params, TaskResult]:
        """As every algorithm's, but for the outer loss; the model is a constant."""
        constant = replace(how, training=False)
        with torch.no_grad():
            passes = self.passes(constant, params, task)
            fast, result = self.adapt_and_pass(constant, passes, meta, task)
            model = fast | named_moments(passes.final_query_moments(fast))
        return model, result._replace(outer_loss=squared_distance(params, fast) / 2)
