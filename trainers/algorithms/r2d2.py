"""R2-D2: a ridge-regression head, solved in closed form."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

import torch
import torch.nn.functional as F
from torch import Tensor

from episodes.errors import UsageError
from trainers.algorithms.base import Algorithm, TaskResult, moments_of, named_moments
from trainers.algorithms.passes import Adaptation
from trainers.inner_loop import no_steps
from trainers.types import ParamInfo, Params, Role, Task

SCALE, OFFSET, RIDGE = "ridge/scale", "ridge/offset", "ridge/weights"


@dataclass(frozen=True)
class R2D2(Algorithm):
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

    def adapts(self, role: Role) -> bool:
        """Nothing adapts by gradient."""
        return False

    def trains(self, info: ParamInfo) -> bool:
        """All but the backbone's head, which is not used."""
        return info.role != "head"

    def init(self, infos: Sequence[ParamInfo], generator: torch.Generator) -> Params:
        """The scale and the offset of the outputs, 0-d each."""
        scale = torch.tensor(self.ridge_scale, device=generator.device)
        return {SCALE: scale, OFFSET: torch.zeros_like(scale)}

    def fit(
        self, how: Adaptation, params: Params, meta: Params, task: Task
    ) -> tuple[Params, TaskResult]:
        """Fit the head to the support set, then pass the query set."""
        passes = self.passes(how, params, task)
        support, query = passes.features()
        support, targets = with_ones(support), task.support_targets
        if not targets.is_floating_point():
            classes = torch.arange(how.way, device=targets.device)
            targets = (targets[:, None] == classes).to(support.dtype)
        if (rows := passes.rows("support")) is not None:
            support = support * rows[:, None]
        model = {RIDGE: ridge_regression(support, targets, self.ridge_lambda, rows)}
        outputs = passes.without_absent(self._outputs(params, model, query))
        if how.bn == "support":
            model |= named_moments(passes.final_moments({}))
        loss = how.loss(outputs, task.query_targets)
        return model, TaskResult(loss, loss, outputs, no_steps())

    def losses_before(
        self, how: Adaptation, params: Params, meta: Params, task: Task, with_query: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Those of the fitted model, for there are no steps."""
        model, result = self.fit(how, params, meta, task)
        outputs = self.predict(how, params, model, task.support_inputs)
        return how.loss(outputs, task.support_targets), result.query_loss

    def predict(self, how: Adaptation, params: Params, model: Params, inputs: Tensor) -> Tensor:
        """Outputs of the fitted head."""
        features = how.backbone.features(params, inputs, moments_of(model))
        return self._outputs(params, model, features)

    def _outputs(self, params: Params, model: Params, features: Tensor) -> Tensor:
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
        return x.T @ torch.linalg.solve(x @ x.T + ridge * eye, y)
    return torch.linalg.solve(x.T @ x + ridge * eye, x.T @ y)
