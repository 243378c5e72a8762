"""Prototypical networks: the nearest class mean in feature space."""

from dataclasses import dataclass

from torch import Tensor

from trainers.algorithms.heads import class_means
from trainers.algorithms.no_inner_loop import NoInnerLoop
from trainers.algorithms.passes import Adaptation, Passes
from trainers.types import Params, Task

MEANS = "class_means"


@dataclass(frozen=True)
class ProtoNet(NoInnerLoop):
    """Logits are minus the squared Euclidean distances to the class means (Snell et al. 2017).

    There is no inner loop and no head, so test episodes may have another way than training's.
    """

    def fit_head(
        self, how: Adaptation, params: Params, passes: Passes, task: Task, support: Tensor
    ) -> Params:
        """The support set's class means."""
        return {MEANS: class_means(support, task.support_targets, how.way)}

    def outputs(self, params: Params, model: Params, features: Tensor) -> Tensor:
        """Nearness to the class means."""
        return nearness(features, model[MEANS])


def nearness(features: Tensor, means: Tensor) -> Tensor:
    """Minus the squared distances `[n, way]` of features `[n, d]` to means `[way, d]`."""
    return -(features[:, None] - means[None]).square().sum(-1)
