"""What a rate scheme is: the rule by which the inner loop turns a gradient into a step."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from trainers.types import ParamInfo, Params

State = dict[str, Tensor]


@dataclass(frozen=True)
class InnerStep:
    """What a rate scheme is shown of one inner step: step `j` (from 0) of the `steps` of this loop.

    `params` and `grads` hold the adapted tensors, in the order of `infos`; `loss` is the 0-d mean
    support loss, `outputs` (logits `[S, way]`, or predictions `[S, d]`) and `targets` (labels
    `[S]`, or values `[S, d]`) are what it was computed from. `grads` are constants in first order.
    `ways`, 0-d, is the number of classes of a padded task, whose head has more rows; None else.
    """

    j: int
    steps: int
    infos: Sequence[ParamInfo]
    params: Params
    grads: Params
    loss: Tensor
    outputs: Tensor
    targets: Tensor
    ways: Tensor | None = None


@dataclass(frozen=True)
class Update:
    """The fast weights after an inner step, and what the scheme carries to the next one.

    `rates` are those just used: 0-d where one rate serves all, else `[M]`, the mean of each adapted
    tensor. `branch`, 0-d, is 1 where a scheme of two branches took its first, else 0.
    """

    params: Params
    rates: Tensor
    state: State = field(default_factory=dict)
    branch: Tensor | None = None


class RateScheme(ABC):
    """Pure functions of tensors; a scheme itself holds settings only.

    `meta` are the scheme's learned tensors, trained by the outer optimiser beside the initial
    weights. `state` is what one task's inner loop carries from step to step. No function branches
    in Python on a tensor's value, so all of them can be batched over tasks by `torch.func.vmap`.
    """

    def init(self, infos: Sequence[ParamInfo], steps: int, generator: torch.Generator) -> Params:
        """The meta-parameters at the start, for an inner loop of `steps` steps; none by default.

        `infos` are the adapted tensors; what is drawn is drawn from `generator`, on its device.
        """
        return {}

    def trains(self, info: ParamInfo) -> bool:
        """Whether the outer loop trains the initial value of this tensor; by default it does."""
        return True

    def prepare(
        self, meta: Params, params: Params, support_grads: Callable[[], Params]
    ) -> tuple[Params, State]:
        """Weights and state before a task's first step; unchanged weights and no state by default.

        `support_grads()` computes the gradients of the support loss at `params` when asked.
        """
        return params, {}

    @abstractmethod
    def step(self, meta: Params, at: InnerStep, state: State) -> Update:
        """The fast weights after the inner step `at`; its steps may exceed those of `init`."""


def descend(params: Params, grads: Params, rate: Tensor) -> Params:
    """One gradient step with one rate for all tensors: theta - rate * g."""
    return {name: param - rate * grads[name] for name, param in params.items()}
