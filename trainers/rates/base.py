"""What a rate scheme is: the rule by which the inner loop turns a gradient into a step."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from torch import Tensor

from trainers.types import ParamInfo, Params

State = dict[str, Tensor]


class RateScheme(ABC):
    """Pure functions of tensors; a scheme itself holds settings only.

    `meta` are the scheme's learned tensors, trained by the outer optimiser beside the initial
    weights. `state` is what one task's inner loop carries from step to step. No function branches
    in Python on a tensor's value.
    """

    def init(self, param_infos: Sequence[ParamInfo], steps: int) -> Params:
        """The meta-parameters at the start, for an inner loop of `steps` steps; none by default."""
        return {}

    def prepare(
        self, meta: Params, params: Params, support_grads: Callable[[], Params]
    ) -> tuple[Params, State]:
        """Weights and state before a task's first step; unchanged weights and no state by default.

        `support_grads()` computes the gradients of the support loss at `params` when asked.
        """
        return params, {}

    @abstractmethod
    def step(
        self,
        meta: Params,
        j: int,
        params: Params,
        grads: Params,
        loss: Tensor,
        logits: Tensor,
        targets: Tensor,
        state: State,
    ) -> tuple[Params, State]:
        """Fast weights after step `j` (from 0) and the state, with the rate just used under `rate`.

        `params` and `grads` hold the adapted tensors; `loss` is the 0-d mean support loss, `logits`
        `[S, way]` and `targets` `[S]` are what it was computed from. `grads` are constants in first
        order. A scheme of two branches reports `branch`, 0-d: 1 where the first was taken, else 0.
        Steps may exceed the number that `init` was told of.
        """

    def after_outer(
        self, meta: Params, records: Sequence[State], outer_state: State
    ) -> tuple[Params, float | None]:
        """Meta-parameters after an outer step, and the next outer rate (None: leave it as it is).

        `records` are the tasks' last states, `outer_state` what the outer loop knows of its step.
        """
        return meta, None


def descend(params: Params, grads: Params, rate: Tensor) -> Params:
    """One gradient step with one rate for all tensors: theta - rate * g."""
    return {name: param - rate * grads[name] for name, param in params.items()}
