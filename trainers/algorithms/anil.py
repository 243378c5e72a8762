"""ANIL: the head alone adapts, on features computed once a task."""

from dataclasses import dataclass

import torch
from torch import Tensor

from trainers.algorithms.base import Algorithm, TaskResult, classify, query_features
from trainers.inner_loop import adapt
from trainers.rates.base import RateScheme
from trainers.types import Backbone, BatchNormMode, Params, Role, Task


@dataclass(frozen=True)
class ANIL(Algorithm):
    """Almost no inner loop: the head adapts, the body learns in the outer loop (Raghu et al. 2020).

    Support and query images pass through the body apart, because batch moments belong to the set
    that is classified.
    """

    second_order: bool = True

    def adapts(self, role: Role) -> bool:
        """The head alone."""
        return role == "head"

    def run(
        self,
        backbone: Backbone,
        scheme: RateScheme,
        meta: Params,
        params: Params,
        task: Task,
        steps: int,
        bn: BatchNormMode,
        training: bool,
    ) -> TaskResult:
        """Compute the features once, adapt the head to those of the support images."""
        with torch.set_grad_enabled(training):
            support = backbone.features(params, task.support_images)
            query = query_features(backbone, params, task, bn)

        def support_loss(head: Params) -> tuple[Tensor, Tensor]:
            return classify(backbone, params | head, support, task.support_labels)

        head, trace = adapt(
            support_loss,
            task.support_labels,
            scheme,
            meta,
            self.adapted(backbone, params),
            steps,
            second_order=self.second_order,
            training=training,
        )
        with torch.set_grad_enabled(training):
            loss, logits = classify(backbone, params | head, query, task.query_labels)
        return TaskResult(loss, logits, trace)
