"""What a task's outputs are judged by: a loss to learn from, and a figure to report."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from trainers.tasks.metrics import r_squared
from trainers.types import PADDING, Loss

LONGEST_WRITTEN_OUT = 1e6


def accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """The share of rows whose largest logit `[..., n, way]` is the label's `[..., n]`.

    Rows labelled `PADDING` do not count.
    """
    hits, counted = (outputs.argmax(-1) == targets).cpu(), (targets != PADDING).cpu()
    return hits.double().sum(-1) / counted.sum(-1)


def balanced_cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """The mean over classes, 0-d, of the mean cross entropy of logits `[n, way]` for its labels
    `[n]`: where classes differ in number, none outweighs the others."""
    counts = torch.bincount(targets, minlength=outputs.shape[1])
    return F.cross_entropy(outputs, targets, weight=1 / counts.clamp(min=1).to(outputs.dtype))


def mse(outputs: Tensor, targets: Tensor) -> Tensor:
    """The mean squared error of predictions `[..., n, o]` from values of the same shape."""
    return (outputs - targets).cpu().double().square().mean((-2, -1))


def r2(outputs: Tensor, targets: Tensor) -> Tensor:
    """`tasks.metrics.r_squared` of predictions `[..., n, o]` and values of the same shape."""
    predicted, wanted = (tensor.detach().cpu().numpy() for tensor in (outputs, targets))
    return torch.as_tensor(r_squared(predicted, wanted))


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
        numbers = [mean] if interval is None else [mean, interval]
        return f"{' ± '.join(map(self._number, numbers))} {self.unit}".rstrip()

    def _number(self, figure: float) -> str:
        is_large = abs(figure) >= LONGEST_WRITTEN_OUT
        return f"{self.scale * figure:.{self.digits}{'e' if is_large else 'f'}}"


ACCURACY = Metric("accuracy", accuracy, F.cross_entropy, True, scale=100, digits=2, unit="%")
MSE = Metric("mse", mse, F.mse_loss, False)
R2 = Metric("r2", r2, F.mse_loss, True)
METRICS = {metric.name: metric for metric in (ACCURACY, MSE, R2)}
