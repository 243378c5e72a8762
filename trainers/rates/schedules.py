"""Rates that fall over the inner steps by a schedule; nothing is learned.

Each is a function of j/S for step j (from 0) of the S steps of the loop at hand, so that more steps
at evaluation stretch the schedule. As j/S stays below 1 the last step is never empty.
"""

from abc import abstractmethod
from dataclasses import dataclass
from math import cos, pi

import torch

from episodes.errors import UsageError
from trainers.rates import checks
from trainers.rates.base import InnerStep, RateScheme, State, Update, descend
from trainers.types import Params


class Schedule(RateScheme):
    """One rate for all tensors, fixed beforehand for each step."""

    @abstractmethod
    def rate(self, j: int, steps: int) -> float:
        """The rate of step `j` (from 0) of `steps`."""

    def step(self, meta: Params, at: InnerStep, state: State) -> Update:
        """The scheduled rate of this step of the loop at hand."""
        rate = torch.full_like(at.loss, self.rate(at.j, at.steps))
        return Update(descend(at.params, at.grads, rate), rate)


@dataclass(frozen=True)
class Linear(Schedule):
    """lr_min + (lr - lr_min) (1 - j/S): from lr towards lr_min, which step S would reach.

    Raises UsageError where a rate is negative or not finite, or lr_min above lr.
    """

    lr: float = 0.01
    lr_min: float = 0.0

    def __post_init__(self) -> None:
        checks.at_least_zero("linear", lr=self.lr, lr_min=self.lr_min)
        checks.in_order("linear", lr_min=self.lr_min, lr=self.lr)

    def rate(self, j: int, steps: int) -> float:
        """The rate of step `j` (from 0) of `steps`."""
        return self.lr_min + (self.lr - self.lr_min) * (1 - j / steps)


@dataclass(frozen=True)
class Step(Schedule):
    """lr * factor^floor(j / every): multiplied by `factor` after each `every` steps.

    Raises UsageError where lr is negative or not finite, factor not in (0, 1], or every below 1.
    """

    lr: float = 0.01
    factor: float = 0.5
    every: int = 2

    def __post_init__(self) -> None:
        checks.at_least_zero("step", lr=self.lr)
        checks.one_or_more("step", every=self.every)
        if not 0 < self.factor <= 1:
            raise UsageError(f"step rate: factor is {self.factor}, expected above 0 and at most 1")

    def rate(self, j: int, steps: int) -> float:
        """The rate of step `j` (from 0), whatever `steps`."""
        return self.lr * self.factor ** (j // self.every)


@dataclass(frozen=True)
class Cosine(Schedule):
    """lr_min + (lr - lr_min)/2 (1 + cos(pi j/S)) (Loshchilov and Hutter 2017, SGDR, eq. 5).

    Raises UsageError where a rate is negative or not finite, or lr_min above lr.
    """

    lr: float = 0.01
    lr_min: float = 0.0

    def __post_init__(self) -> None:
        checks.at_least_zero("cosine", lr=self.lr, lr_min=self.lr_min)
        checks.in_order("cosine", lr_min=self.lr_min, lr=self.lr)

    def rate(self, j: int, steps: int) -> float:
        """The rate of step `j` (from 0) of `steps`."""
        return self.lr_min + (self.lr - self.lr_min) / 2 * (1 + cos(pi * j / steps))
