"""Alpha MAML: one inner rate that moves along its own hypergradient, beside the outer one."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from trainers.rates.base import InnerStep, RateScheme, State, Update, descend
from trainers.rates.checks import at_least_zero
from trainers.types import ParamInfo, Params

RATE = "rate"


@dataclass(frozen=True)
class Hypergradient(RateScheme):
    """theta' = theta - alpha * g with alpha adapted online (Behl et al. 2019, Alpha MAML, eq. 4-5).

    alpha is a meta-parameter, `lr` at the start. Its gradient, that of the query loss through the
    inner steps, is eq. 4; the outer loop descends along it with plain gradient descent at its
    hyper-rate, and adapts its own rate too (eq. 6-7; `trainers.outer_optimizer`). For several steps
    and a mean over tasks (eq. 9) the gradient is exact.

    Raises UsageError where lr is negative or not finite.
    """

    lr: float = 0.01

    def __post_init__(self) -> None:
        at_least_zero("hypergradient", lr=self.lr)

    def init(self, infos: Sequence[ParamInfo], steps: int, generator: torch.Generator) -> Params:
        """alpha, 0-d."""
        return {RATE: torch.tensor(self.lr, device=generator.device)}

    def step(self, meta: Params, at: InnerStep, state: State) -> Update:
        """The same rate at every step."""
        rate = meta[RATE]
        return Update(descend(at.params, at.grads, rate), rate)
