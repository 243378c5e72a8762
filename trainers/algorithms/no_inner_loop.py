"""Algorithms without an inner loop: a head that is fitted to the support set in one go."""

from abc import abstractmethod

from torch import Tensor

from trainers.algorithms.base import Algorithm, TaskResult, named_moments
from trainers.algorithms.passes import Adaptation, Passes
from trainers.inner_loop import no_steps
from trainers.types import ParamInfo, Params, Role, Task


class NoInnerLoop(Algorithm):
    """Nothing adapts by gradient, and the backbone's own head is not used."""

    @abstractmethod
    def fit_head(
        self, how: Adaptation, params: Params, passes: Passes, task: Task, support: Tensor
    ) -> Params:
        """The head's tensors, of the support set's features `[S, d]`."""

    @abstractmethod
    def outputs(self, params: Params, model: Params, features: Tensor) -> Tensor:
        """Outputs `[n, o]` of features `[n, d]` by the fitted head."""

    def adapts(self, role: Role) -> bool:
        """Nothing adapts."""
        return False

    def trains(self, info: ParamInfo) -> bool:
        """All but the backbone's head."""
        return info.role != "head"

    def fit(
        self, how: Adaptation, params: Params, meta: Params, task: Task
    ) -> tuple[Params, TaskResult]:
        """Fit the head to the support set, then pass the query set."""
        passes = self.passes(how, params, task)
        support, query = passes.features()
        model = self.fit_head(how, params, passes, task, support)
        outputs = passes.without_absent(self.outputs(params, model, query))
        loss = how.loss(outputs, task.query_targets)
        model |= named_moments(passes.final_query_moments({}))
        return model, TaskResult(loss, loss, outputs, no_steps())

    def losses_before(
        self, how: Adaptation, params: Params, meta: Params, task: Task, with_query: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Those of the fitted model, for there are no steps."""
        model, result = self.fit(how, params, meta, task)
        outputs = self.predict(how, params, model, task.support_inputs)
        return how.loss(outputs, task.support_targets), result.query_loss

    def predict(self, how: Adaptation, params: Params, model: Params, inputs: Tensor) -> Tensor:
        """Outputs of the fitted head."""
        return self.outputs(params, model, self.model_features(how, params, model, inputs))
