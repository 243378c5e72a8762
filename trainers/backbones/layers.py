"""What the backbones share: their tensors, initial weights, batch normalisation, and checks."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import prod, sqrt
from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from episodes.errors import UsageError, unknown_name
from trainers.types import Moments, ParamInfo, Params, Role

BATCH_NORM_EPS = 1e-5
WeightInit = Literal["torch", "xavier"]


class Layer(NamedTuple):
    """A layer of parameters: a weight of `shape`, and unless `bias` is false one bias an output.

    The weight of a `norm` layer is its scale, the bias its offset. Shapes are outputs first.
    """

    name: str
    role: Role
    shape: tuple[int, ...]
    bias: bool = True


def param_infos(layers: Iterable[Layer], adapts: Callable[[Role], bool]) -> list[ParamInfo]:
    """One entry a tensor, layer by layer, weight before bias; `adapts` tells which roles adapt."""
    infos = []
    for name, role, shape, bias in layers:
        infos.append(ParamInfo(f"{name}.weight", shape, name, role, adapts(role)))
        if bias:
            bias_role: Role = role if role in ("norm", "head") else "bias"
            infos.append(ParamInfo(f"{name}.bias", shape[:1], name, bias_role, adapts(bias_role)))
    return infos


def draw_params(
    layers: Iterable[Layer], weight_init: WeightInit, generator: torch.Generator
) -> Params:
    """Fresh float32 tensors on the generator's device, in the order of `param_infos`.

    `torch` draws weights and biases uniformly within 1/sqrt(fan-in), the default of torch's
    convolutions and linear layers. `xavier` draws weights uniformly within sqrt(6 / (fan-in +
    fan-out)) and leaves biases zero (Glorot and Bengio 2010, equation 16; the code of MAML++ and
    ALFA). Normalisation starts at scale 1 and offset 0.
    """
    params = {}
    for name, role, shape, bias in layers:
        weight = torch.empty(shape, device=generator.device)
        offset = torch.zeros(shape[0], device=generator.device)
        if role == "norm":
            weight.fill_(1.0)
        elif weight_init == "torch":
            bound = 1 / sqrt(prod(shape[1:]))
            weight.uniform_(-bound, bound, generator=generator)
            if bias:
                offset.uniform_(-bound, bound, generator=generator)
        else:
            bound = sqrt(6 / ((shape[0] + shape[1]) * prod(shape[2:])))
            weight.uniform_(-bound, bound, generator=generator)
        params[f"{name}.weight"] = weight
        if bias:
            params[f"{name}.bias"] = offset
    return params


def tensors(params: Params, name: str) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of the layer `name`, None where it has no bias."""
    return params[f"{name}.weight"], params.get(f"{name}.bias")


class Layered(ABC):
    """A backbone whose tensors are those of its layers, the last of which is the linear `head`."""

    weight_init: WeightInit

    @abstractmethod
    def layers(self) -> list[Layer]:
        """The layers, in the order of their tensors."""

    def param_infos(self, adapts: Callable[[Role], bool]) -> list[ParamInfo]:
        """One entry a parameter, in the order of `init`; `adapts` tells which roles adapt."""
        return param_infos(self.layers(), adapts)

    def init(self, generator: torch.Generator) -> Params:
        """Fresh float32 parameters on the generator's device, as `weight_init` says."""
        return draw_params(self.layers(), self.weight_init, generator)

    def logits(self, params: Params, features: Tensor) -> Tensor:
        """Outputs `[n, o]` of features `[n, feature_count]`."""
        return F.linear(features, *tensors(params, "head"))


class BatchNorms:
    """The batch normalisations of one pass through a network, called in the order of its layers.

    Each normalises by its inputs' own moments, or by the next of the given `moments`, through which
    gradients flow. `collect` is given the inputs' own moments either way. Only `rows`, bool `[n]`,
    count in the inputs' own moments where they are given.
    """

    def __init__(
        self, moments: Moments | None, collect: Moments | None, rows: Tensor | None = None
    ) -> None:
        self._given = None if moments is None else iter(moments)
        self._collect, self._rows = collect, rows

    @property
    def by_own_moments_alone(self) -> bool:
        """Whether inputs are normalised by the moments of all of them, which nobody else wants."""
        return self._given is None and self._collect is None and self._rows is None

    def __call__(
        self,
        maps: Tensor,
        scale: Tensor | None,
        offset: Tensor | None,
        eps: float = BATCH_NORM_EPS,
    ) -> Tensor:
        """Normalised `maps` `[n, C, ...]`, times `scale` `[C]`, plus `offset` `[C]`; bfloat16 maps
        in float32.

        Raises UsageError where moments are given, but none for this layer.
        """
        maps = maps.float() if maps.dtype == torch.bfloat16 else maps
        own = None
        if self._collect is not None or (self._given is None and self._rows is not None):
            own = own_moments(maps, self._rows)
        if self._collect is not None and own is not None:
            self._collect.append(own)
        per_channel = (-1, *[1] * (maps.ndim - 2))
        if self._given is None and self._rows is None:
            # Scaled apart: F.batch_norm with a scale has a wrong second derivative with respect to
            # its inputs where autograd runs through torch.func.vmap (seen in torch 2.15).
            maps = F.batch_norm(maps, None, None, training=True, eps=eps)
            maps = maps if scale is None else maps * scale.reshape(per_channel)
            return maps if offset is None else maps + offset.reshape(per_channel)
        # F.batch_norm would treat given moments as constants.
        mean, variance = own if self._given is None and own is not None else self._next_given()
        factor = torch.rsqrt(variance + eps)
        factor = factor if scale is None else scale * factor
        shift = -mean * factor if offset is None else offset - mean * factor
        return maps * factor.reshape(per_channel) + shift.reshape(per_channel)

    def _next_given(self) -> tuple[Tensor, Tensor]:
        assert self._given is not None
        moments = next(self._given, None)
        if moments is None:
            raise UsageError(
                "fewer moments given than the network has batch normalisations: "
                "give those that features() of the same backbone collected"
            )
        return moments


def own_moments(maps: Tensor, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Mean and biased variance `[C]` of maps `[n, C, ...]`, or of those of bool `rows` `[n]`."""
    axes = [axis for axis in range(maps.ndim) if axis != 1]
    if rows is None:
        variance, mean = torch.var_mean(maps, axes, correction=0)
        return mean, variance
    counted = rows.to(maps.dtype).reshape(-1, *[1] * (maps.ndim - 1))
    numbers = counted.sum() * prod(maps.shape[2:])
    mean = (counted * maps).sum(axes) / numbers
    distances = maps - mean.reshape(-1, *[1] * (maps.ndim - 2))
    return mean, (counted * distances.square()).sum(axes) / numbers


def check_at_least(backbone: object, name: str, least: Mapping[str, int]) -> None:
    """Raises UsageError for a field of the backbone `name` below its least value."""
    for field, bound in least.items():
        if (value := getattr(backbone, field)) < bound:
            raise UsageError(f"{name}: {field} is {value}, expected at least {bound}")


def check_weight_init(weight_init: str) -> None:
    """Raises UsageError, with the nearest match, where there is no such initialisation."""
    if weight_init not in get_args(WeightInit):
        raise unknown_name("weight initialisation", weight_init, get_args(WeightInit))


def check_images(name: str, images: Tensor, expected: Sequence[int]) -> None:
    """Raises UsageError unless images are `[n, *expected]`."""
    if (given := tuple(images.shape[1:])) != tuple(expected):
        raise UsageError(
            f"{name}: images of (channels, height, width) {given} given, expected "
            f"{tuple(expected)}: use a dataset of the shape that the backbone was built for"
        )
