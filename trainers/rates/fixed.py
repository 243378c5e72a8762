"""One constant inner rate, as in MAML."""

from dataclasses import dataclass
from math import isfinite

import torch

from episodes.errors import UsageError
from trainers.rates.base import InnerStep, RateScheme, State, Update, descend
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
        if not (isfinite(self.lr) and self.lr >= 0):
            raise UsageError(f"fixed rate: lr is {self.lr}, expected a finite number of at least 0")

    def step(self, meta: Params, at: InnerStep, state: State) -> Update:
        """The same rate at every step, those beyond the trained ones included."""
        rate = torch.full_like(at.loss, self.lr)
        return Update(descend(at.params, at.grads, rate), rate)
