"""Convolution whose second derivatives are the ones that libraries have kernels for.

Torch's own second derivative of a convolution convolves with kernels as large as the maps, for
which no library is made. With y = x * w (convolved), gx and gw its gradients for g, and cotangents
a of gx and b of gw, what is sought are the derivatives of <a, gx> + <b, gw> = <g, a * w + x * b>:
two convolutions, and two gradients of such.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from trainers.backbones.functions import LastDerivative, OneByOne


def convolve(maps: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Maps `[n, C, h, w]` convolved with `weight` `[F, C, k, k]`, k odd, k // 2 zeros around them.

    In memory channels are last, which is what the libraries' kernels are quickest with. Third
    derivatives are not there.
    """
    if torch.is_autocast_enabled(maps.device.type):
        dtype = torch.get_autocast_dtype(maps.device.type)
        maps, weight = maps.to(dtype), weight.to(dtype)
    (found,) = _Convolution.apply(maps, weight, stride)
    return found


def channels_last(maps: Tensor) -> Tensor:
    """The maps `[n, C, h, w]` with channels last in memory.

    Of one channel, or one pixel, other strides mean the same, and are taken for another order: nine
    times slower kernels.
    """
    _, channels, height, width = maps.shape
    found = maps.contiguous(memory_format=torch.channels_last)
    return found.as_strided(maps.shape, (height * width * channels, 1, width * channels, channels))


def _convolved(maps: Tensor, weight: Tensor, stride: int) -> Tensor:
    return F.conv2d(channels_last(maps), weight, stride=stride, padding=weight.shape[-1] // 2)


def _gradients(
    maps: Tensor, weight: Tensor, grad: Tensor, stride: int, wanted: tuple[bool, bool]
) -> tuple[Tensor | None, Tensor | None]:
    """Those of the maps and of the weight, None where not wanted."""
    of_maps, of_weight, _ = torch.ops.aten.convolution_backward(
        channels_last(grad),
        channels_last(maps),
        weight,
        None,
        [stride, stride],
        [weight.shape[-1] // 2] * 2,
        [1, 1],
        False,
        [0, 0],
        1,
        [*wanted, False],
    )
    return of_maps, None if of_weight is None else of_weight.contiguous()


class _Convolution(OneByOne):
    @staticmethod
    def forward(maps: Tensor, weight: Tensor, stride: int) -> tuple[Tensor, ...]:
        return (_convolved(maps, weight, stride),)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        maps, weight, ctx.stride = inputs
        ctx.save_for_backward(maps, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        maps, weight = ctx.saved_tensors
        found = _Gradient.apply(maps, weight, grad, ctx.stride, ctx.needs_input_grad[0])
        return found[0] if ctx.needs_input_grad[0] else None, found[-1], None


class _Gradient(OneByOne):
    """The gradients of maps, if they are wanted, and of the weight."""

    @staticmethod
    def forward(
        maps: Tensor, weight: Tensor, grad: Tensor, stride: int, of_maps: bool
    ) -> tuple[Tensor, ...]:
        found = _gradients(maps, weight, grad, stride, (of_maps, True))
        return tuple(tensor for tensor in found if tensor is not None)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        maps, weight, grad, ctx.stride, ctx.of_maps = inputs
        ctx.save_for_backward(maps, weight, grad)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        maps, weight, grad = ctx.saved_tensors
        of_weight_grad = cotangents[-1]
        if not ctx.of_maps:
            (of_grad,) = _Convolution.apply(maps, of_weight_grad, ctx.stride)
            return None, None, of_grad, None, None
        return (
            *_SecondGradient.apply(maps, weight, grad, *cotangents, ctx.stride),
            None,
            None,
        )


class _SecondGradient(LastDerivative):
    """The derivatives with respect to maps, weight and gradient."""

    @staticmethod
    def forward(
        maps: Tensor, weight: Tensor, grad: Tensor, a: Tensor, b: Tensor, stride: int
    ) -> tuple[Tensor, ...]:
        of_grad = _convolved(maps, b, stride)
        of_grad += _convolved(a, weight, stride)
        of_maps, _ = _gradients(maps, b, grad, stride, (True, False))
        _, of_weight = _gradients(a, weight, grad, stride, (False, True))
        assert of_maps is not None and of_weight is not None
        return of_maps, of_weight, of_grad
