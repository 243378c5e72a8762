"""Meta-SGD: a learned rate for each weight."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch

from episodes.errors import unknown_name
from trainers.rates import checks
from trainers.rates.base import InnerStep, RateScheme, State, Update
from trainers.types import ParamInfo, Params

Start = Literal["constant", "uniform"]


@dataclass(frozen=True)
class MetaSGD(RateScheme):
    """theta' = theta - alpha * g elementwise, alpha learned (Li et al. 2017, Meta-SGD).

    Meta-parameters: `rate/TENSOR`, of the tensor's shape, for each adapted tensor; all steps share
    them, and they may turn negative. They start as `lr` (`start="constant"`), or each drawn
    uniformly from lr_low to lr_high (`start="uniform"`, the paper's).

    Raises UsageError where a rate is negative or not finite, or lr_low above lr_high.
    """

    lr: float = 0.01
    start: Start = "constant"
    lr_low: float = 0.005
    lr_high: float = 0.1

    def __post_init__(self) -> None:
        if self.start not in get_args(Start):
            raise unknown_name("start", self.start, get_args(Start))
        checks.at_least_zero("meta-sgd", lr=self.lr, lr_low=self.lr_low, lr_high=self.lr_high)
        checks.in_order("meta-sgd", lr_low=self.lr_low, lr_high=self.lr_high)

    def init(self, infos: Sequence[ParamInfo], steps: int, generator: torch.Generator) -> Params:
        """`rate/TENSOR`, shaped as each adapted tensor."""
        rates = {
            f"rate/{info.name}": torch.full(
                info.shape, self.lr, dtype=torch.float32, device=generator.device
            )
            for info in infos
        }
        if self.start == "uniform":
            for rate in rates.values():
                rate.uniform_(self.lr_low, self.lr_high, generator=generator)
        return rates

    def step(self, meta: Params, at: InnerStep, state: State) -> Update:
        """The same rates at every step, those beyond the trained ones included."""
        rates = {info.name: meta[f"rate/{info.name}"] for info in at.infos}
        params = {name: at.params[name] - rate * at.grads[name] for name, rate in rates.items()}
        return Update(params, torch.stack([rate.mean() for rate in rates.values()]))
