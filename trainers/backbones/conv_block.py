"""Convolution, normalisation, activation and pooling: what convolutional networks are made of."""

import torch.nn.functional as F
from torch import Tensor

from trainers.backbones import fused
from trainers.backbones.convolution import convolve
from trainers.backbones.layers import BatchNorms, tensors
from trainers.types import Params


def conv_block(
    params: Params,
    conv: str,
    norm: str,
    maps: Tensor,
    normalise: BatchNorms,
    *,
    slope: float,
    window: int = 1,
    stride: int = 1,
    is_fused: bool = False,
) -> Tensor:
    """Maps `[n, C, h, w]` through the layers `conv` and `norm` of `params`, leaky ReLU of `slope`
    (0 is ReLU, 1 nothing) and max-pooling of windows of `window` x `window`.

    Where `is_fused`, what follows a convolution is one function, if maps are on the CPU and
    normalised by their own moments: the same numbers up to the order of sums.
    """
    weight, bias = tensors(params, conv)
    scale, offset = params[f"{norm}.weight"], params[f"{norm}.bias"]
    if is_fused and normalise.by_own_moments_alone and maps.device.type == "cpu":
        return fused.block(convolve(maps, weight, stride), scale, offset, bias, slope, window)
    maps = F.conv2d(maps, weight, bias, stride=stride, padding=weight.shape[-1] // 2)
    maps = normalise(maps, scale, offset)
    if slope != 1:
        maps = F.leaky_relu(maps, slope) if slope else F.relu(maps)
    return F.max_pool2d(maps, window) if window > 1 else maps
