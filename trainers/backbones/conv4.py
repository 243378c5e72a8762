"""Conv4: the four-block convolutional network of the few-shot papers, as pure functions."""

from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor

from episodes.errors import UsageError, unknown_name
from trainers.backbones import layers
from trainers.backbones.conv_block import conv_block
from trainers.backbones.layers import BatchNorms, Layer, Layered, WeightInit
from trainers.types import Moments, Params

BLOCKS = ("block1", "block2", "block3", "block4")
TOTAL_POOLING = 2**4
Downsample = Literal["pool", "stride"]


@dataclass(frozen=True)
class Conv4(Layered):
    """Four blocks of 3x3 convolution, batch normalisation and ReLU, then a linear head.

    `downsample="pool"` ends each block with 2x2 max-pooling and flattens the last map (Vinyals et
    al. 2016; 1600 features at 84x84, 64 at 28x28). `downsample="stride"` halves the image in the
    convolution instead and averages the last map over space (MAML's Omniglot network, Finn et al.
    2017); its padding is symmetric where TensorFlow's `SAME` may pad one side only.

    `fused` is that of `conv_block`: the same numbers up to the order of sums, sooner.

    `leaky_slope` is the slope of the activation below zero, 0 for ReLU. `weight_init` is that of
    `layers.draw_params`. MAML++ and ALFA have 48 filters, slope 0.01 and `xavier`.

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
    leaky_slope: float = 0.0
    weight_init: WeightInit = "torch"
    fused: bool = False

    def __post_init__(self) -> None:
        if self.downsample not in get_args(Downsample):
            raise unknown_name("downsampling", self.downsample, get_args(Downsample))
        layers.check_weight_init(self.weight_init)
        least = {"way": 2, "in_channels": 1, "image_size": 1, "filters": 1}
        layers.check_at_least(self, "conv4", least)
        if not 0 <= self.leaky_slope < 1:
            raise UsageError(
                f"conv4: leaky_slope is {self.leaky_slope}, expected at least 0 and less than 1"
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
        flow; `collect` is given the images' own, mean and biased variance `[filters]` a block. Only
        `rows` count in these.
        Raises UsageError where the images' shape is not the backbone's.
        """
        layers.check_images("conv4", inputs, (self.in_channels, self.image_size, self.image_size))
        normalise = BatchNorms(moments, collect, rows)
        pools = self.downsample == "pool"
        maps = inputs
        for block in BLOCKS:
            maps = conv_block(
                params,
                f"{block}.conv",
                f"{block}.norm",
                maps,
                normalise,
                slope=self.leaky_slope,
                window=2 if pools else 1,
                stride=1 if pools else 2,
                is_fused=self.fused,
            )
        return maps.flatten(1) if pools else maps.mean((2, 3))

    def layers(self) -> list[Layer]:
        """Convolution and normalisation of each block, and the head."""
        found = []
        channels = self.in_channels
        for block in BLOCKS:
            found += [
                Layer(f"{block}.conv", "conv", (self.filters, channels, 3, 3)),
                Layer(f"{block}.norm", "norm", (self.filters,)),
            ]
            channels = self.filters
        return [*found, Layer("head", "head", (self.way, self.feature_count))]
