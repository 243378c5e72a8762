"""One constant inner rate, as in MAML."""

from dataclasses import dataclass

import torch

from trainers.rates.base import InnerStep, RateScheme, State, Update, descend
from trainers.rates.checks import at_least_zero
from trainers.types import Params


@dataclass(frozen=True)
class Fixed(RateScheme):
    """theta' = theta - lr * g (Finn, Abbeel and Levine 2017, eq. 1).

    `lr` multiplies the gradient of the mean support loss. The MAML paper's code divides the summed
    loss by the shots alone, so its rates correspond to `way` times as much here.

    Raises UsageError where lr is negative or not finite.
    """

    lr: float = 0.01

    def __post_init__(self) -> None:
        at_least_zero("fixed", lr=self.lr)

    def step(self, meta: Params, at: InnerStep, state: State) -> Update:
        """The same rate at every step, those beyond the trained ones included."""
        rate = torch.full_like(at.loss, self.lr)
        return Update(descend(at.params, at.grads, rate), rate)
