"""Prototypical networks: the nearest class mean in feature space."""

from dataclasses import dataclass

import torch

from trainers.algorithms.base import Algorithm, TaskResult
from trainers.algorithms.heads import class_means
from trainers.algorithms.passes import Adaptation
from trainers.inner_loop import no_steps
from trainers.types import ParamInfo, Params, Role, Task


@dataclass(frozen=True)
class ProtoNet(Algorithm):
    """Logits are minus the squared Euclidean distances to the class means (Snell et al. 2017).

    There is no inner loop and no head, so test episodes may have another way than training's.
    """

    def adapts(self, role: Role) -> bool:
        """Nothing adapts."""
        return False

    def trains(self, info: ParamInfo) -> bool:
        """All but the head, which is not used."""
        return info.role != "head"

    def run(self, how: Adaptation, params: Params, meta: Params, task: Task) -> TaskResult:
        """The query set's distances to the support set's class means."""
        with torch.set_grad_enabled(how.training):
            passes = self.passes(how, params, task)
            support, query = passes.features()
            means = class_means(support, task.support_targets, how.way)
            distances = (query[:, None] - means[None]).square().sum(-1)
            outputs = passes.without_absent(-distances)
            loss = how.loss(outputs, task.query_targets)
        return TaskResult(loss, loss, outputs, no_steps())
