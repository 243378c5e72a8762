"""ANIL: the head alone adapts, on features computed once a task."""

from dataclasses import dataclass

from trainers.algorithms.base import Algorithm, FeaturePass, query_features
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

    def feature_passes(
        self, backbone: Backbone, params: Params, task: Task, bn: BatchNormMode
    ) -> tuple[FeaturePass, FeaturePass]:
        """Features computed here, which no adaptation of the head changes."""
        support = backbone.features(params, task.support_images)
        query = query_features(backbone, params, task, bn)
        return lambda weights: support, lambda weights: query
