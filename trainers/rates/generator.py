"""Small networks that generate an inner loop's hyperparameters from a summary of its state."""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from trainers.types import ParamInfo, Params


def init_layers(prefix: str, widths: Sequence[int], generator: torch.Generator) -> Params:
    """Weights and biases of linear layers between these widths, `{prefix}/1.weight` and so on.

    Float32 on the generator's device, uniform within 1/sqrt(fan-in) as torch's `Linear`.
    """

    def draw(shape: tuple[int, ...], fan_in: int) -> Tensor:
        bound = fan_in**-0.5
        values = torch.empty(shape, device=generator.device)
        return values.uniform_(-bound, bound, generator=generator)

    layers: Params = {}
    for number, (inputs, outputs) in enumerate(pairwise(widths), start=1):
        layers[f"{prefix}/{number}.weight"] = draw((outputs, inputs), inputs)
        layers[f"{prefix}/{number}.bias"] = draw((outputs,), inputs)
    return layers


def apply_layers(prefix: str, meta: Params, inputs: Tensor, layers: int) -> Tensor:
    """Outputs `[n]` for inputs `[d]`, with ReLU between the layers and none after the last."""
    for number in range(1, layers + 1):
        if number > 1:
            inputs = F.relu(inputs)
        weight, bias = meta[f"{prefix}/{number}.weight"], meta[f"{prefix}/{number}.bias"]
        inputs = F.linear(inputs, weight, bias)
    return inputs


def tensor_means(
    tensors: Params, infos: Sequence[ParamInfo] = (), ways: Tensor | None = None
) -> Tensor:
    """The mean of each tensor, `[M]`, in their order.

    Where `ways` is given, a head's is that of its first `ways` rows, the others being zero.
    """
    means = [tensor.mean() for tensor in tensors.values()]
    if ways is not None:
        means = [
            mean * info.shape[0] / ways if info.role == "head" else mean
            for mean, info in zip(means, infos, strict=True)
        ]
    return torch.stack(means)
