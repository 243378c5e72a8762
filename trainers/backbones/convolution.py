"""Convolution whose second derivatives are the ones that libraries have kernels for.

Torch's own second derivative of a convolution convolves with kernels as large as the maps, for
which no library is made. With y = x * w (convolved), gx and gw its gradients for g, and cotangents
a of gx and b of gw, what is sought are the derivatives of <a, gx> + <b, gw> = <g, a * w + x * b>:
two convolutions, and two gradients of such.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function


def convolve(maps: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Maps `[n, C, h, w]` convolved with `weight` `[F, C, k, k]`, k odd, k // 2 zeros around them.

    In memory channels are last, which is what the libraries' kernels are quickest with. Third
    derivatives are not there.
    """
    if torch.is_autocast_enabled(maps.device.type):
        dtype = torch.get_autocast_dtype(maps.device.type)
        maps, weight = maps.to(dtype), weight.to(dtype)
    return _Convolution.apply(maps, weight, stride)


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


def one_by_one(
    function: Callable[..., tuple[Tensor, ...]], size: int, axes: tuple[int | None, ...], args: Any
) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    """What `torch.func.vmap` makes of a function: one task after the other."""
    results = [
        function(
            *(
                arg if axis is None else arg.select(axis, i)
                for arg, axis in zip(args, axes, strict=True)
            )
        )
        for i in range(size)
    ]
    stacked = tuple(torch.stack(tensors) for tensors in zip(*results, strict=True))
    return stacked, (0,) * len(stacked)


class _Convolution(Function):
    @staticmethod
    def forward(maps: Tensor, weight: Tensor, stride: int) -> Tensor:
        return _convolved(maps, weight, stride)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        maps, weight, ctx.stride = inputs
        ctx.save_for_backward(maps, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        maps, weight = ctx.saved_tensors
        found = _Gradient.apply(maps, weight, grad, ctx.stride, ctx.needs_input_grad[0])
        return found[0] if ctx.needs_input_grad[0] else None, found[-1], None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> Any:
        (found,), axes = one_by_one(
            lambda *alone: (_Convolution.apply(*alone),), info.batch_size, in_dims, args
        )
        return found, axes[0]


class _Gradient(Function):
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
            of_grad = _Convolution.apply(maps, of_weight_grad, ctx.stride)
            return None, None, of_grad, None, None
        return (
            *_SecondGradient.apply(maps, weight, grad, *cotangents, ctx.stride),
            None,
            None,
        )

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> Any:
        return one_by_one(_Gradient.apply, info.batch_size, in_dims, args)


class _SecondGradient(Function):
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

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        raise NotImplementedError("a fused block has no third derivatives: use --blocks plain")

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> Any:
        return one_by_one(_SecondGradient.apply, info.batch_size, in_dims, args)
