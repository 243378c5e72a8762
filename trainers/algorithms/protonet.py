"""Prototypical networks: the nearest class mean in feature space."""

from dataclasses import dataclass

from torch import Tensor

from trainers.algorithms.base import Algorithm, TaskResult, moments_of, named_moments
from trainers.algorithms.heads import class_means
from trainers.algorithms.passes import Adaptation
from trainers.inner_loop import no_steps
from trainers.types import ParamInfo, Params, Role, Task

MEANS = "class_means"


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

    def fit(
        self, how: Adaptation, params: Params, meta: Params, task: Task
    ) -> tuple[Params, TaskResult]:
        """The support set's class means, and the query set's distances to them."""
        passes = self.passes(how, params, task)
        support, query = passes.features()
        means = class_means(support, task.support_targets, how.way)
        outputs = passes.without_absent(nearness(query, means))
        loss = how.loss(outputs, task.query_targets)
        model = {MEANS: means}
        if how.bn == "support":
            model |= named_moments(passes.final_moments({}))
        return model, TaskResult(loss, loss, outputs, no_steps())

    def losses_before(
        self, how: Adaptation, params: Params, meta: Params, task: Task, with_query: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Those of the fitted model, for there are no steps."""
        model, result = self.fit(how, params, meta, task)
        outputs = self.predict(how, params, model, task.support_inputs)
        return how.loss(outputs, task.support_targets), result.query_loss

    def predict(self, how: Adaptation, params: Params, model: Params, inputs: Tensor) -> Tensor:
        """Nearness to the class means."""
        features = how.backbone.features(params, inputs, moments_of(model))
        return nearness(features, model[MEANS])


def nearness(features: Tensor, means: Tensor) -> Tensor:
    """Minus the squared distances `[n, way]` of features `[n, d]` to means `[way, d]`."""
    return -(features[:, None] - means[None]).square().sum(-1)
