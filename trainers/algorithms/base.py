"""What an algorithm is: which weights adapt, and how the outer gradient is formed."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from episodes.errors import unknown_name
from trainers.inner_loop import Trace, adapt
from trainers.rates.base import RateScheme
from trainers.types import Backbone, BatchNormMode, Params, Role, Task

FeaturePass = Callable[[Params], Tensor]


@dataclass(frozen=True)
class TaskResult:
    """The outcome of one task: 0-d query loss, logits `[Q, way]`, and what the inner steps did."""

    query_loss: Tensor
    query_logits: Tensor
    trace: Trace


class Algorithm(ABC):
    """A gradient-based meta-learning algorithm; it holds settings only.

    `second_order` tells whether the outer gradient runs through the inner gradients.
    """

    second_order: bool

    @abstractmethod
    def adapts(self, role: Role) -> bool:
        """Whether the inner loop changes parameters of this role."""

    @abstractmethod
    def feature_passes(
        self, backbone: Backbone, params: Params, task: Task, bn: BatchNormMode
    ) -> tuple[FeaturePass, FeaturePass]:
        """The features of the support and of the query images as functions of all weights.

        What does not depend on the adapted weights is computed here, once a task.
        """

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
        """Adapt to the task's support set in `steps` steps, then classify its query set.

        In training, the query loss carries the graph to `params` and `meta`, which must require
        gradients; otherwise it is a constant. Query images are normalised by their own moments
        where `bn` is `batch` (transductive: they see each other), by the support set's under the
        adapted weights where it is `support`. Raises UsageError for any other mode.
        """
        with torch.set_grad_enabled(training):
            support, query = self.feature_passes(backbone, params, task, bn)

        def support_loss(fast: Params) -> tuple[Tensor, Tensor]:
            weights = params | fast
            return classify(backbone, weights, support(weights), task.support_labels)

        fast, trace = adapt(
            support_loss,
            task.support_labels,
            scheme,
            meta,
            self._adapted(backbone, params),
            steps,
            second_order=self.second_order,
            training=training,
        )
        with torch.set_grad_enabled(training):
            weights = params | fast
            loss, logits = classify(backbone, weights, query(weights), task.query_labels)
        return TaskResult(loss, logits, trace)

    def _adapted(self, backbone: Backbone, params: Params) -> Params:
        """Those of `params` that the inner loop changes."""
        infos = backbone.param_infos(self.adapts)
        return {info.name: params[info.name] for info in infos if info.adapted}


def query_features(backbone: Backbone, params: Params, task: Task, bn: BatchNormMode) -> Tensor:
    """Features of the task's query images, normalised as `bn` says."""
    match bn:
        case "batch":
            return backbone.features(params, task.query_images)
        case "support":
            moments = backbone.moments(params, task.support_images)
            return backbone.features(params, task.query_images, moments)
        case _:
            raise unknown_name("batch-norm mode", bn, get_args(BatchNormMode))


def classify(
    backbone: Backbone, params: Params, features: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean cross entropy, 0-d, and logits `[n, way]` of the head on features `[n, d]`."""
    logits = backbone.logits(params, features)
    return F.cross_entropy(logits, labels), logits
