"""MAML and first-order MAML: the whole network adapts."""

from dataclasses import dataclass

import torch
from torch import Tensor

from trainers.algorithms.base import Algorithm, TaskResult, classify, query_features
from trainers.inner_loop import adapt
from trainers.rates.base import RateScheme
from trainers.types import Backbone, BatchNormMode, Params, Role, Task


@dataclass(frozen=True)
class MAML(Algorithm):
    """Every weight adapts; the fast weights' query loss is the outer loss (Finn et al. 2017).

    `second_order=False` is FOMAML: the inner gradients are constants of the outer gradient (section
    5.2). `adapt_bn` tells whether the scale and offset of batch normalisation adapt too: they do in
    MLPLR's protocol, they do not in MAML++ and ALFA.
    """

    second_order: bool = True
    adapt_bn: bool = True

    def adapts(self, role: Role) -> bool:
        """All roles, `norm` where `adapt_bn`."""
        return role != "norm" or self.adapt_bn

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
        """Adapt every weight; each inner step classifies the support images anew."""

        def support_loss(fast: Params) -> tuple[Tensor, Tensor]:
            features = backbone.features(params | fast, task.support_images)
            return classify(backbone, params | fast, features, task.support_labels)

        fast, trace = adapt(
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
            features = query_features(backbone, params | fast, task, bn)
            loss, logits = classify(backbone, params | fast, features, task.query_labels)
        return TaskResult(loss, logits, trace)
