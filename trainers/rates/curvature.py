"""Meta-Curvature: gradients transformed by learned matrices, one for each mode of a tensor."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from trainers.rates import checks
from trainers.rates.base import InnerStep, RateScheme, State, Update
from trainers.types import ParamInfo, Params

MODES = ("out", "in", "kernel")


@dataclass(frozen=True)
class MetaCurvature(RateScheme):
    """theta' = theta - lr * (g x_1 M_out x_2 M_in x_3 M_kernel) (Park and Oliva 2019).

    A convolution's gradient `[out, in, kh, kw]` is multiplied along its output channels, its input
    channels and its kh*kw kernel positions, a linear layer's `[out, in]` along both axes, and that
    of a tensor of one axis elementwise. Meta-parameters, for each adapted tensor:
    `curvature.out/TENSOR` `[out, out]`, `curvature.in/TENSOR` `[in, in]` and
    `curvature.kernel/TENSOR` `[kh*kw, kh*kw]`, identities at the start; for a tensor of one axis
    `curvature/TENSOR` `[n]`, ones. All steps share them. A head of 1600 features takes 1600^2.

    `lr` is not learned; the paper's code takes 0.4 in one step on Omniglot. The rates told of a
    step are lr times the mean diagonal of the tensor's whole matrix, the Kronecker product.

    Raises UsageError where lr is negative or not finite.
    """

    lr: float = 0.01

    def __post_init__(self) -> None:
        checks.at_least_zero("curvature", lr=self.lr)

    def init(self, infos: Sequence[ParamInfo], steps: int, generator: torch.Generator) -> Params:
        """Identity matrices for each adapted tensor, or ones where it has a single axis."""
        start: Params = {}
        for info in infos:
            sizes = _mode_sizes(info.shape)
            if not sizes:
                start[f"curvature/{info.name}"] = torch.ones(
                    info.shape, dtype=torch.float32, device=generator.device
                )
            for mode, size in zip(MODES, sizes, strict=False):
                start[f"curvature.{mode}/{info.name}"] = torch.eye(
                    size, dtype=torch.float32, device=generator.device
                )
        return start

    def step(self, meta: Params, at: InnerStep, state: State) -> Update:
        """The same curvature at every step, those beyond the trained ones included."""
        lr = torch.full_like(at.loss, self.lr)
        params, scales = {}, []
        for info in at.infos:
            curved, scale = _curved(meta, info, at.grads[info.name])
            params[info.name] = at.params[info.name] - lr * curved
            scales.append(scale)
        return Update(params, lr * torch.stack(scales))


def _curved(meta: Params, info: ParamInfo, grad: Tensor) -> tuple[Tensor, Tensor]:
    """A tensor's transformed gradient, and the mean diagonal, 0-d, of the transformation."""
    sizes = _mode_sizes(info.shape)
    if not sizes:
        scale = meta[f"curvature/{info.name}"]
        return scale * grad, scale.mean()
    matrices = [meta[f"curvature.{mode}/{info.name}"] for mode in MODES[: len(sizes)]]
    curved = grad.reshape(sizes)
    for axis, matrix in enumerate(matrices):
        if len(matrix) == 1:  # One for all rows of the head, however many.
            curved = matrix[0, 0] * curved
            continue
        curved = torch.tensordot(matrix, curved, ([1], [axis])).movedim(0, axis)
    mean_diagonals = torch.stack([matrix.diagonal().mean() for matrix in matrices])
    return curved.reshape(info.shape), mean_diagonals.prod()


def _mode_sizes(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The length of each mode that has a matrix; none for a tensor of one axis."""
    if len(shape) < 2:
        return ()
    return shape if len(shape) == 2 else (shape[0], shape[1], prod(shape[2:]))
