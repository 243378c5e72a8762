"""The outer loop's optimiser: Adam or gradient descent, its rate constant, falling or adapted."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from trainers.config import RunConfig
from trainers.rates import hypergradient

GROUP = "outer"
INNER_RATE = f"meta/{hypergradient.RATE}"
RATE, PREVIOUS, STEP = "rate", "previous", "step"


class OuterOptimizer:
    """Steps `trained` tensors, by name, along their gradients.

    Under `--lr hypergradient` the outer rate beta rises by `outer_hyper_lr` times the scalar
    product of this iteration's gradient and the last step's direction: Alpha MAML (Behl et al.
    2019), eq. 7, for gradient descent, where the direction is the last gradient; for Adam it is the
    last step over its rate (Baydin et al. 2018, algorithm 5). The inner rate, a meta-parameter,
    falls along its own gradient, which is eq. 5, by plain descent at the rate `hyper_lr`.
    """

    def __init__(self, trained: Mapping[str, Tensor], config: RunConfig) -> None:
        self._config = config
        self._is_adaptive = config.lr == "hypergradient"
        self._rates = {
            name: t for name, t in trained.items() if self._is_adaptive and name == INNER_RATE
        }
        self._weights = {name: t for name, t in trained.items() if name not in self._rates}
        kind = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[config.outer]
        # One kernel instead of dozens, on a GPU; its count of steps lies there too.
        self._is_fused = all(tensor.is_cuda for tensor in self._weights.values())
        fused = self._is_fused or None
        self._optimizer = kind(list(self._weights.values()), lr=config.outer_lr, fused=fused)
        self._rate = torch.tensor(config.outer_lr, dtype=torch.float64)
        self._previous: dict[str, Tensor] = {}

    @property
    def rate(self) -> float:
        """The rate of the last step, or of the first one to come."""
        return float(self._optimizer.param_groups[0]["lr"])

    def step(self, iteration: int) -> None:
        """The outer step of `iteration`, from 0, along the gradients that the tensors hold."""
        if not self._is_adaptive:
            self._optimizer.param_groups[0]["lr"] = scheduled_rate(self._config, iteration)
            self._optimizer.step()
            return
        if self._previous:
            products = [
                (direction * _gradient(self._weights[name])).sum()
                for name, direction in self._previous.items()
            ]
            product = sum(torch.stack(products).tolist())
            self._rate = self._rate + float(self._config.own["outer_hyper_lr"]) * product
        rate = self._optimizer.param_groups[0]["lr"] = self._rate.item()
        before = {name: tensor.detach().clone() for name, tensor in self._weights.items()}
        gradients = {name: _gradient(t).clone() for name, t in self._weights.items()}
        self._optimizer.step()
        with torch.no_grad():
            self._previous = gradients
            if self._config.outer == "adam" and rate:
                self._previous = {
                    name: (start - self._weights[name]) / rate for name, start in before.items()
                }
            for inner_rate in self._rates.values():
                inner_rate -= float(self._config.own["hyper_lr"]) * _gradient(inner_rate)

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps of it, by name."""
        moments = {
            f"{GROUP}/{name}/{key}": moment
            for name, tensor in self._weights.items()
            for key, moment in self._optimizer.state[tensor].items()
            if isinstance(moment, Tensor)
        }
        if not self._is_adaptive:
            return moments
        previous = {f"{GROUP}/{n}/{PREVIOUS}": tensor for n, tensor in self._previous.items()}
        return moments | previous | {f"{GROUP}/{RATE}": self._rate}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up the state among a checkpoint's tensors."""
        for name, tensor in self._weights.items():
            prefix = f"{GROUP}/{name}/"
            found = {
                key.removeprefix(prefix): self._placed(key.removeprefix(prefix), tensor, value)
                for key, value in tensors.items()
                if key.startswith(prefix)
            }
            if PREVIOUS in found:
                self._previous[name] = found.pop(PREVIOUS)
            if found:
                self._optimizer.state[tensor] = found
        self._rate = tensors.get(f"{GROUP}/{RATE}", self._rate)

    def _placed(self, key: str, tensor: Tensor, moment: Tensor) -> Tensor:
        """A checkpoint's tensor where and how the optimiser keeps it: the count of steps on the
        host unless it is fused, the rest as the weights."""
        if key == STEP:
            return moment.to(tensor.device) if self._is_fused else moment
        return torch.empty_like(tensor, requires_grad=False).copy_(moment)


def scheduled_rate(config: RunConfig, iteration: int) -> float:
    """The outer rate of an iteration (from 0) by the run's schedule.

    `cosine` falls by half a cosine over the epochs of the run, a value an epoch (torch's
    CosineAnnealingLR stepped once an epoch, as MAML++'s code does); `linear` over the iterations.
    """
    if config.outer_schedule == "constant":
        return config.outer_lr
    start, end = config.outer_lr, float(config.own["outer_lr_end"])
    if config.outer_schedule == "linear":
        return start + (end - start) * iteration / max(1, config.iterations)
    epochs = max(1, math.ceil(config.iterations / config.epoch))
    progress = (iteration // config.epoch) / epochs
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


def _gradient(tensor: Tensor) -> Tensor:
    return torch.zeros_like(tensor) if tensor.grad is None else tensor.grad
