"""Conv4: the four-block convolutional network of the few-shot papers, as pure functions."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from episodes.errors import UsageError, unknown_name
from trainers.types import Moments, ParamInfo, Params, Role

BLOCKS = ("block1", "block2", "block3", "block4")
TOTAL_POOLING = 2**4
BATCH_NORM_EPS = 1e-5
Downsample = Literal["pool", "stride"]


@dataclass(frozen=True)
class Conv4:
    """Four blocks of 3x3 convolution, batch normalisation and ReLU, then a linear head.

    `downsample="pool"` ends each block with 2x2 max-pooling and flattens the last map (Vinyals et
    al. 2016; 1600 features at 84x84, 64 at 28x28). `downsample="stride"` halves the image in the
    convolution instead and averages the last map over space (MAML's Omniglot network, Finn et al.
    2017); its padding is symmetric where TensorFlow's `SAME` may pad one side only.

    Batch normalisation keeps no running statistics. Normalising by batch moments subtracts the bias
    of the convolution before it, whose gradient is therefore exactly zero; the bias is kept because
    the papers count it (121,093 parameters for 5-way 84x84 colour images).

    Raises UsageError where a field is out of range or the image too small for four poolings.
    """

    way: int
    in_channels: int
    image_size: int
    filters: int = 64
    downsample: Downsample = "pool"

    def __post_init__(self) -> None:
        if self.downsample not in get_args(Downsample):
            raise unknown_name("downsampling", self.downsample, get_args(Downsample))
        for field, least in (("way", 2), ("in_channels", 1), ("image_size", 1), ("filters", 1)):
            if getattr(self, field) < least:
                raise UsageError(
                    f"conv4: {field} is {getattr(self, field)}, expected at least {least}"
                )
        if self.downsample == "pool" and self.image_size < TOTAL_POOLING:
            raise UsageError(
                f"conv4: images of {self.image_size}x{self.image_size}, but four poolings need "
                f"{TOTAL_POOLING}x{TOTAL_POOLING}: prepare larger images or use downsample 'stride'"
            )

    @property
    def feature_count(self) -> int:
        """Features per image."""
        if self.downsample == "stride":
            return self.filters
        side = self.image_size // TOTAL_POOLING
        return self.filters * side * side

    def param_infos(self, adapts: Callable[[Role], bool]) -> list[ParamInfo]:
        """One entry a parameter, in the order of `init`; `adapts` tells which roles adapt."""

        def info(module: str, tensor: str, shape: tuple[int, ...], role: Role) -> ParamInfo:
            return ParamInfo(f"{module}.{tensor}", shape, module, role, adapts(role))

        infos = []
        channels = self.in_channels
        for block in BLOCKS:
            infos += [
                info(f"{block}.conv", "weight", (self.filters, channels, 3, 3), "conv"),
                info(f"{block}.conv", "bias", (self.filters,), "bias"),
                info(f"{block}.norm", "weight", (self.filters,), "norm"),
                info(f"{block}.norm", "bias", (self.filters,), "norm"),
            ]
            channels = self.filters
        return [
            *infos,
            info("head", "weight", (self.way, self.feature_count), "head"),
            info("head", "bias", (self.way,), "head"),
        ]

    def init(self, generator: torch.Generator) -> Params:
        """Fresh float32 parameters on the generator's device.

        Weights and biases are uniform within 1/sqrt(fan-in), torch's default for `Conv2d` and
        `Linear`; batch normalisation starts at scale 1 and offset 0.
        """
        infos = self.param_infos(lambda role: True)
        fan_in = {info.module: prod(info.shape[1:]) for info in infos if len(info.shape) > 1}

        def draw(info: ParamInfo) -> Tensor:
            values = torch.empty(info.shape, device=generator.device)
            if info.role == "norm":
                return values.fill_(1.0 if info.name.endswith("weight") else 0.0)
            bound = fan_in[info.module] ** -0.5
            return values.uniform_(-bound, bound, generator=generator)

        return {info.name: draw(info) for info in infos}

    def features(self, params: Params, images: Tensor, moments: Moments | None = None) -> Tensor:
        """Features `[n, feature_count]` of images `[n, in_channels, image_size, image_size]`.

        Every normalisation uses the images' own moments, or the given ones, through which gradients
        flow. Raises UsageError where the images' shape is not the backbone's.
        """
        maps = self._checked(images)
        for index, block in enumerate(BLOCKS):
            given = None if moments is None else moments[index]
            maps = self._convolve(params, block, maps)
            maps = self._activate(_normalise(params, block, maps, given))
        return maps.mean((2, 3)) if self.downsample == "stride" else maps.flatten(1)

    def moments(self, params: Params, images: Tensor) -> Moments:
        """Mean and biased variance `[filters]` per block of images `[n, C, H, W]`.

        They are what `features` normalises these images by when it is given no moments.
        """
        maps = self._checked(images)
        moments = []
        for block in BLOCKS:
            maps = self._convolve(params, block, maps)
            variance, mean = torch.var_mean(maps, (0, 2, 3), correction=0)
            moments.append((mean, variance))
            maps = self._activate(_normalise(params, block, maps, None))
        return moments

    def logits(self, params: Params, features: Tensor) -> Tensor:
        """Logits `[n, way]` of features `[n, feature_count]`."""
        return F.linear(features, params["head.weight"], params["head.bias"])

    def _checked(self, images: Tensor) -> Tensor:
        expected = (self.in_channels, self.image_size, self.image_size)
        if tuple(images.shape[1:]) != expected:
            raise UsageError(
                f"conv4: images of (channels, height, width) {tuple(images.shape[1:])} given, "
                f"expected {expected}: use a dataset of the shape that the backbone was built for"
            )
        return images

    def _convolve(self, params: Params, block: str, maps: Tensor) -> Tensor:
        stride = 2 if self.downsample == "stride" else 1
        weight, bias = params[f"{block}.conv.weight"], params[f"{block}.conv.bias"]
        return F.conv2d(maps, weight, bias, stride=stride, padding=1)

    def _activate(self, maps: Tensor) -> Tensor:
        maps = F.relu(maps)
        return F.max_pool2d(maps, 2) if self.downsample == "pool" else maps


def _normalise(
    params: Params, block: str, maps: Tensor, moments: tuple[Tensor, Tensor] | None
) -> Tensor:
    scale, offset = params[f"{block}.norm.weight"], params[f"{block}.norm.bias"]
    if moments is None:
        return F.batch_norm(maps, None, None, scale, offset, training=True, eps=BATCH_NORM_EPS)
    # F.batch_norm would treat given moments as constants.
    mean, variance = moments
    scale = scale * torch.rsqrt(variance + BATCH_NORM_EPS)
    return maps * scale[:, None, None] + (offset - mean * scale)[:, None, None]
