"""ResNet12: four residual blocks, as ALFA's code has them, as pure functions."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from trainers.backbones import layers
from trainers.backbones.conv_block import conv_block
from trainers.backbones.layers import BatchNorms, Layer, Layered, WeightInit
from trainers.types import Moments, Params

POOL_PADDINGS = {"block1": 0, "block2": 0, "block3": 1, "block4": None}
"""Block -> the padding of its pooling, None where it has none: 84 -> 42 -> 21 -> 11 -> 11."""

SMALLEST_IMAGE = 4
RELU, LINEAR = 0.0, 1.0
"""Slopes below zero."""


@dataclass(frozen=True)
class ResNet12(Layered):
    """Four residual blocks, global average pooling, and a linear head (Baik et al. 2020, ALFA).

    A block is three 3x3 convolutions, each with batch normalisation and the first two with ReLU,
    beside a shortcut of a 1x1 convolution with batch normalisation; ReLU and 2x2 max-pooling follow
    their sum, except that the fourth block does not pool. Convolutions have no bias, and there is
    no dropout. `filters` is the width of the first block; each next one has twice as many. It is
    the network of ALFA's code with its `xavier` start: 7,999,365 parameters for 5-way colour images
    of any size. TADAM (Oreshkin et al. 2018) and later work vary pooling and activation.

    Batch normalisation keeps no running statistics. `fused` is that of `conv_block`: the same
    numbers up to the order of sums, sooner.

    Raises UsageError where a field is out of range.
    """

    way: int
    in_channels: int
    image_size: int
    filters: int = 64
    weight_init: WeightInit = "xavier"
    fused: bool = False

    def __post_init__(self) -> None:
        layers.check_weight_init(self.weight_init)
        least = {"way": 2, "in_channels": 1, "image_size": SMALLEST_IMAGE, "filters": 1}
        layers.check_at_least(self, "resnet12", least)

    @property
    def feature_count(self) -> int:
        """Features per image: the width of the last block."""
        return self._width(len(POOL_PADDINGS) - 1)

    def features(
        self,
        params: Params,
        inputs: Tensor,
        moments: Moments | None = None,
        collect: Moments | None = None,
        rows: Tensor | None = None,
    ) -> Tensor:
        """Features `[n, feature_count]` of images `[n, in_channels, image_size, image_size]`.

        Every normalisation uses the images' own moments, or the given ones, through which gradients
        flow; `collect` is given the images' own, mean and biased variance `[channels]`: in each
        block those of the three convolutions, then the shortcut's. Only `rows` count in these.
        Raises UsageError where the images' shape is not the backbone's.
        """
        expected = (self.in_channels, self.image_size, self.image_size)
        layers.check_images("resnet12", inputs, expected)
        normalise = BatchNorms(moments, collect, rows)

        def convolved(maps: Tensor, block: str, which: str, slope: float) -> Tensor:
            conv, norm = f"{block}.conv{which}", f"{block}.norm{which}"
            return conv_block(params, conv, norm, maps, normalise, slope=slope, is_fused=self.fused)

        maps = inputs
        for block, pool_padding in POOL_PADDINGS.items():
            inner = convolved(maps, block, "1", RELU)
            inner = convolved(inner, block, "2", RELU)
            inner = convolved(inner, block, "3", LINEAR)
            maps = F.relu(inner + convolved(maps, block, "_shortcut", LINEAR))
            if pool_padding is not None:
                maps = F.max_pool2d(maps, 2, padding=pool_padding)
        return maps.mean((2, 3))

    def _width(self, index: int) -> int:
        return self.filters * 2**index

    def layers(self) -> list[Layer]:
        """Convolutions and normalisations of each block, and the head."""
        found = []
        inputs = self.in_channels
        for index, block in enumerate(POOL_PADDINGS):
            width = self._width(index)
            shapes = {
                "1": (width, inputs, 3, 3),
                "2": (width, width, 3, 3),
                "3": (width, width, 3, 3),
                "_shortcut": (width, inputs, 1, 1),
            }
            for which, shape in shapes.items():
                found += [
                    Layer(f"{block}.conv{which}", "conv", shape, bias=False),
                    Layer(f"{block}.norm{which}", "norm", (width,)),
                ]
            inputs = width
        return [*found, Layer("head", "head", (self.way, self.feature_count))]
