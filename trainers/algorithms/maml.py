"""MAML and first-order MAML: the whole network adapts."""

from dataclasses import dataclass

from trainers.algorithms.base import Algorithm, FeaturePass, query_features
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

    def feature_passes(
        self, backbone: Backbone, params: Params, task: Task, bn: BatchNormMode
    ) -> tuple[FeaturePass, FeaturePass]:
        """Every inner step, and the query pass, compute the features anew."""
        return (
            lambda weights: backbone.features(weights, task.support_images),
            lambda weights: query_features(backbone, weights, task, bn),
        )
