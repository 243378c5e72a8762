"""MLPLR: a personal inner rate for each task and step, from how far the task is from fitted."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from episodes.errors import UsageError, unknown_name
from trainers.rates.base import InnerStep, RateScheme, State, Update, descend
from trainers.rates.checks import above_zero
from trainers.types import ABSENT, PADDING, Params

Divergence = Literal["ce", "ce_mean_over_classes", "kl_smoothed", "kl_clamped", "p_no_log"]


@dataclass(frozen=True)
class Personalized(RateScheme):
    """Rate lr_max - k where the support set's divergence k <= lr_max, else lr_min (MLPLR, eq. 4-6).

    The paper leaves the divergence, both rates and the rate's gradient open. `divergence` is one of

    - `ce`: KL(labels || predictions), the mean cross entropy (default);
    - `ce_mean_over_classes`: `ce` divided by the number of classes too;
    - `kl_smoothed`: KL(predictions || labels smoothed by `smoothing`), eq. 4 in its printed order;
    - `kl_clamped`: KL(predictions || labels), one-hot labels raised to at least `clamp`;
    - `p_no_log`: minus the mean probability of the true class, the KL with its logarithm forgotten.

    `detach_rate=False` lets the outer gradient flow through the rate (eq. 7 read literally); by
    default the rate is a constant. At k = lr_max the rate is 0, so lr_min is not a lower bound;
    `clip=True` makes it one. The rule is the same for steps beyond the trained ones. In regression
    k is the mean squared error of the support set, which is our extension: the paper has none.

    Raises UsageError where lr_min or lr_max is not positive, or smoothing or clamp not in (0, 1).
    """

    lr_min: float = 0.01
    lr_max: float = 0.1
    divergence: Divergence = "ce"
    detach_rate: bool = True
    clip: bool = False
    smoothing: float = 0.1
    clamp: float = 1e-8

    def __post_init__(self) -> None:
        if self.divergence not in get_args(Divergence):
            raise unknown_name("divergence", self.divergence, get_args(Divergence))
        above_zero("personalized", lr_min=self.lr_min, lr_max=self.lr_max)
        for field in ("smoothing", "clamp"):
            value = getattr(self, field)
            if not 0 < value < 1:
                raise UsageError(
                    f"personalized rate: {field} is {value}, expected a number between 0 and 1"
                )

    def step(self, meta: Params, at: InnerStep, state: State) -> Update:
        """MLPLR eq. 5, then eq. 6."""
        k = self.measure(at.outputs, at.targets)
        rate, fitted = self.rate(k.detach() if self.detach_rate else k)
        return Update(descend(at.params, at.grads, rate), rate, branch=fitted.to(at.loss.dtype))

    def measure(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The divergence k (eq. 4), 0-d, of logits `[S, way]` from labels `[S]`.

        Of predictions `[S, o]` from values of the same shape it is the mean squared error. Rows
        labelled `PADDING` do not count.
        """
        if targets.is_floating_point():
            return F.mse_loss(logits, targets)
        way = (logits[0] > ABSENT / 2).sum()
        match self.divergence:
            case "ce":
                return F.cross_entropy(logits, targets)
            case "ce_mean_over_classes":
                return F.cross_entropy(logits, targets) / way
            case "kl_smoothed":
                smoothed = _one_hot(logits, targets) * (1 - self.smoothing) + self.smoothing / way
                return _kl_from_predictions(logits, smoothed, targets)
            case "kl_clamped":
                clamped = _one_hot(logits, targets).clamp(min=self.clamp)
                return _kl_from_predictions(logits, clamped, targets)
        p = (_one_hot(logits, targets) * F.softmax(logits, dim=-1)).sum(-1)
        return -_mean(p, targets)  # p_no_log

    def rate(self, k: Tensor) -> tuple[Tensor, Tensor]:
        """The rate (eq. 5) for divergence k, and whether k <= lr_max."""
        fitted = k <= self.lr_max
        remainder = self.lr_max - k
        if self.clip:
            remainder = remainder.clamp(min=self.lr_min)
        return torch.where(fitted, remainder, self.lr_min), fitted


def _one_hot(logits: Tensor, targets: Tensor) -> Tensor:
    """Labels `[S, way]` of the logits' type, 1 at the targets."""
    eye = torch.eye(logits.shape[-1], dtype=logits.dtype, device=logits.device)
    return eye[targets.clamp(min=0)]


def _kl_from_predictions(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """KL(softmax(logits) || labels), averaged over the samples."""
    log_p = F.log_softmax(logits, dim=-1)
    return _mean((log_p.exp() * (log_p - labels.log())).sum(-1), targets)


def _mean(values: Tensor, targets: Tensor) -> Tensor:
    """The mean of values `[S]` over the rows that are no padding."""
    rows = targets != PADDING
    return (values * rows).sum() / rows.sum()
