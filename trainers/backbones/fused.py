"""Normalisation, activation and max-pooling as one function, which reads the maps once.

Made of torch's functions, each of these steps writes maps of full size and reads them again, and
their second derivatives do so some twenty times: that is more than half of MAML's time on a CPU.
"""

import ctypes
from typing import Any

import torch
from torch import Tensor

from trainers import native
from trainers.backbones.convolution import channels_last
from trainers.backbones.functions import LastDerivative, OneByOne
from trainers.backbones.layers import BATCH_NORM_EPS

KINDS = {torch.float32: "float32", torch.float64: "float64", torch.bfloat16: "bfloat16"}


def is_available() -> bool:
    """Whether this machine's compiler made the functions."""
    return native.library("fused_block") is not None


def block(
    maps: Tensor,
    scale: Tensor,
    offset: Tensor,
    bias: Tensor | None,
    slope: float,
    window: int,
) -> Tensor:
    """Maps `[n, C, h, w]` normalised by their own moments, times `scale`, plus `offset`, leaky
    ReLU, and the maxima of windows of 2x2, or of 1x1: `[n, C, h / window, w / window]`.

    `bias` `[C]` is that of the convolution before, left out of the maps: normalising would subtract
    it, so its gradient is zero. Sums and statistics are float32 where maps are bfloat16. Maps are
    on the CPU. Second derivatives are there, third ones are not.
    """
    found, *_ = _Block.apply(maps, scale, offset, bias, slope, window)
    return found


class _Shape(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_int64) for name in ("images", "channels", "height", "width", "window")
    ]


def _call(
    name: str, maps: Tensor, window: int, numbers: tuple[float, ...], *tensors: Tensor
) -> None:
    compiled = native.library("fused_block")
    assert compiled is not None
    function = compiled[f"{name}_{KINDS[maps.dtype]}"]
    shape = _Shape(*maps.shape, window)
    function(
        ctypes.byref(shape),
        *map(ctypes.c_double, numbers),
        *(ctypes.c_void_p(tensor.data_ptr()) for tensor in (maps, *tensors)),
    )


def _pooled_like(maps: Tensor, window: int, dtype: torch.dtype) -> Tensor:
    count, channels, height, width = maps.shape
    shape = (count, channels, height // window, width // window)
    return torch.empty(shape, dtype=dtype, memory_format=torch.channels_last)


class _Block(OneByOne):
    @staticmethod
    def forward(
        maps: Tensor,
        scale: Tensor,
        offset: Tensor,
        bias: Tensor | None,
        slope: float,
        window: int,
    ) -> tuple[Tensor, ...]:
        maps, scale, offset = channels_last(maps), scale.contiguous(), offset.contiguous()
        found = _pooled_like(maps, window, maps.dtype)
        codes = _pooled_like(maps, window, torch.uint8)
        mean, inverse = torch.empty_like(scale), torch.empty_like(scale)
        numbers = (slope, BATCH_NORM_EPS)
        _call("forward", maps, window, numbers, scale, offset, found, codes, mean, inverse)
        return found, codes, mean, inverse

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        maps, scale, _, bias, ctx.slope, ctx.window = inputs
        _, codes, mean, inverse = output
        ctx.mark_non_differentiable(codes, mean, inverse)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(maps, scale, mean, inverse, codes, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
        if grad is None:
            return (None,) * 6
        *saved, bias = ctx.saved_tensors
        of_maps, of_scale, of_offset = _Gradient.apply(*saved, grad, ctx.slope, ctx.window)
        of_bias = None if bias is None else torch.zeros_like(bias)
        return of_maps, of_scale, of_offset, of_bias, None, None


class _Gradient(OneByOne):
    """The derivatives of `_Block`, which have derivatives of their own."""

    @staticmethod
    def forward(
        maps: Tensor,
        scale: Tensor,
        mean: Tensor,
        inverse: Tensor,
        codes: Tensor,
        grad: Tensor,
        slope: float,
        window: int,
    ) -> tuple[Tensor, ...]:
        maps, scale, grad = channels_last(maps), scale.contiguous(), channels_last(grad)
        found = (torch.empty_like(maps), torch.empty_like(scale), torch.empty_like(scale))
        _call("backward", maps, window, (slope,), scale, mean, inverse, codes, grad, *found)
        return found

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        *tensors, ctx.slope, ctx.window = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(
        ctx: Any, of_maps: Tensor, of_scale: Tensor, of_offset: Tensor
    ) -> tuple[Tensor | None, ...]:
        cotangents = (of_maps, of_offset, of_scale)
        grad, maps, scale = _SecondGradient.apply(
            *ctx.saved_tensors, *cotangents, ctx.slope, ctx.window
        )
        return maps, scale, None, None, None, grad, None, None


class _SecondGradient(LastDerivative):
    """The derivatives of `_Gradient`."""

    @staticmethod
    def forward(
        maps: Tensor,
        scale: Tensor,
        mean: Tensor,
        inverse: Tensor,
        codes: Tensor,
        grad: Tensor,
        of_maps: Tensor,
        of_offset: Tensor,
        of_scale: Tensor,
        slope: float,
        window: int,
    ) -> tuple[Tensor, ...]:
        maps, scale, grad = channels_last(maps), scale.contiguous(), channels_last(grad)
        cotangents = (channels_last(of_maps), of_offset.contiguous(), of_scale.contiguous())
        given = (scale, mean, inverse, codes, grad, *cotangents)
        found = (torch.empty_like(grad), torch.empty_like(maps), torch.empty_like(scale))
        _call("double_backward", maps, window, (slope,), *given, *found)
        return found
