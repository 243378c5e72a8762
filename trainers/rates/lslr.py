"""LSLR of MAML++: a learned rate for each tensor and each inner step."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from trainers.rates import checks
from trainers.rates.base import InnerStep, RateScheme, State, Update
from trainers.types import ParamInfo, Params


@dataclass(frozen=True)
class LSLR(RateScheme):
    """theta' = theta - alpha[tensor, j] * g, alpha learned (Antoniou et al. 2019, section 4, LSLR).

    Meta-parameters: `rate/TENSOR` `[steps]` for each adapted tensor, weight and bias apart, `lr` at
    the start (the paper's code takes 0.01 on miniImageNet, 0.1 on Omniglot, and holds one entry
    more, never used). Steps beyond the trained ones reuse the last entry. Rates may turn negative.

    Raises UsageError where lr is negative or not finite.
    """

    lr: float = 0.01

    def __post_init__(self) -> None:
        checks.at_least_zero("lslr", lr=self.lr)

    def init(self, infos: Sequence[ParamInfo], steps: int, generator: torch.Generator) -> Params:
        """`rate/TENSOR` `[steps]` for each adapted tensor."""
        start = torch.full((steps,), self.lr, dtype=torch.float32, device=generator.device)
        return {f"rate/{info.name}": start.clone() for info in infos}

    def step(self, meta: Params, at: InnerStep, state: State) -> Update:
        """Each tensor's rate of this step."""
        learned = [meta[f"rate/{info.name}"] for info in at.infos]
        rates = [rate[min(at.j, len(rate) - 1)] for rate in learned]
        params = {
            info.name: at.params[info.name] - rate * at.grads[info.name]
            for info, rate in zip(at.infos, rates, strict=True)
        }
        return Update(params, torch.stack(rates))
