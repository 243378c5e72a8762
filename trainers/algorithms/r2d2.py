"""R2-D2: a ridge-regression head, solved in closed form."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

import torch
import torch.nn.functional as F
from torch import Tensor

from episodes.errors import UsageError
from trainers.algorithms.no_inner_loop import NoInnerLoop
from trainers.algorithms.passes import Adaptation, Passes
from trainers.types import ParamInfo, Params, Task

SCALE, OFFSET, RIDGE = "ridge/scale", "ridge/offset", "ridge/weights"


@dataclass(frozen=True)
class R2D2(NoInnerLoop):
    """Outputs scale * Z W + offset, W the support set's ridge regression (Bertinetto et al. 2019).

    W = X' (X X' + lambda I)^-1 Y, eq. 5, of features X with a column of ones and one-hot labels (or
    values) Y, both divided by the square root of their number as in the authors' code; in the other
    of its two forms where there are more examples than features. Scale (which starts at
    `ridge_scale`) and offset are learned, lambda is fixed.

    Raises UsageError where lambda or the scale is not positive.
    """

    ridge_lambda: float = 50.0
    ridge_scale: float = 10.0

    def __post_init__(self) -> None:
        for field in ("ridge_lambda", "ridge_scale"):
            value = getattr(self, field)
            if not (isfinite(value) and value > 0):
                raise UsageError(f"r2d2: {field} is {value}, expected a finite number above 0")

    def init(self, infos: Sequence[ParamInfo], generator: torch.Generator) -> Params:
        """The scale and the offset of the outputs, 0-d each."""
        scale = torch.tensor(self.ridge_scale, device=generator.device)
        return {SCALE: scale, OFFSET: torch.zeros_like(scale)}

    def fit_head(
        self, how: Adaptation, params: Params, passes: Passes, task: Task, support: Tensor
    ) -> Params:
        """The ridge regression of the support set's targets."""
        support, targets = with_ones(support), task.support_targets
        if not targets.is_floating_point():
            classes = torch.arange(how.way, device=targets.device)
            targets = (targets[:, None] == classes).to(support.dtype)
        if (rows := passes.rows("support")) is not None:
            support = support * rows[:, None]
        return {RIDGE: ridge_regression(support, targets, self.ridge_lambda, rows)}

    def outputs(self, params: Params, model: Params, features: Tensor) -> Tensor:
        """Scaled and offset outputs of the regression."""
        return params[SCALE] * (with_ones(features) @ model[RIDGE]) + params[OFFSET]


def with_ones(features: Tensor) -> Tensor:
    """Features `[n, d]` with a column of ones, `[n, d + 1]`."""
    return F.pad(features, (0, 1), value=1.0)


def ridge_regression(
    features: Tensor, targets: Tensor, ridge: float, rows: Tensor | None = None
) -> Tensor:
    """Weights `[d, o]` from features `[n, d]` to targets `[n, o]`, both divided by sqrt(n).

    Where bool `rows` `[n]` are given, only they count in n; the other rows are zeros.
    """
    number, dimension = features.shape
    root = number**0.5 if rows is None else rows.sum().to(features.dtype).sqrt()
    x, y = features / root, targets / root
    eye = torch.eye(min(number, dimension), dtype=x.dtype, device=x.device)
    if number <= dimension:
        return x.T @ _solved(x @ x.T + ridge * eye, y)
    return _solved(x.T @ x + ridge * eye, x.T @ y)


def _solved(matrix: Tensor, targets: Tensor) -> Tensor:
    # Unlike `solve` it does not wait for the device to look for errors: a ridge leaves none.
    return torch.linalg.solve_ex(matrix, targets).result
