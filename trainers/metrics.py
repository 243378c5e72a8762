"""What a task's outputs are judged by: a loss to learn from, and a figure to report."""

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from trainers.types import Loss


def accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """The share of rows whose largest logit `[..., n, way]` is the label's `[..., n]`."""
    return (outputs.argmax(-1) == targets).cpu().double().mean(-1)


def mse(outputs: Tensor, targets: Tensor) -> Tensor:
    """The mean squared error of predictions `[..., n, o]` from values of the same shape."""
    return (outputs - targets).cpu().double().square().mean((-2, -1))


@dataclass(frozen=True)
class Metric:
    """A figure of each task, and the loss that goes with it.

    `name` is the figure's key in results; it is printed times `scale` with `digits` decimals and
    `unit`. `of(outputs, targets)` measures a task, or each of a batch of tasks.
    """

    name: str
    of: Callable[[Tensor, Tensor], Tensor]
    loss: Loss
    is_higher_better: bool
    scale: float = 1.0
    digits: int = 4
    unit: str = ""

    def text(self, mean: float, interval: float | None = None) -> str:
        """`56.20 ± 0.61 %`."""
        figure = f"{self.scale * mean:.{self.digits}f}"
        if interval is not None:
            figure += f" ± {self.scale * interval:.{self.digits}f}"
        return f"{figure} {self.unit}".rstrip()


ACCURACY = Metric("accuracy", accuracy, F.cross_entropy, True, scale=100, digits=2, unit="%")
MSE = Metric("mse", mse, F.mse_loss, False)
METRICS = {metric.name: metric for metric in (ACCURACY, MSE)}
