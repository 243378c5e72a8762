"""What the autograd functions of the backbones share: their rule of `vmap`, and where they end."""

from typing import Any

import torch
from torch.autograd import Function


class OneByOne(Function):
    """A function of several outputs, which `torch.func.vmap` calls for one task after another."""

    @classmethod
    def vmap(cls, info: Any, in_dims: tuple[int | None, ...], *args: Any) -> Any:
        """The outputs of all tasks, stacked."""
        results = [
            cls.apply(
                *(
                    arg if axis is None else arg.select(axis, i)
                    for arg, axis in zip(args, in_dims, strict=True)
                )
            )
            for i in range(info.batch_size)
        ]
        stacked = tuple(torch.stack(tensors) for tensors in zip(*results, strict=True))
        return stacked, (0,) * len(stacked)


class LastDerivative(OneByOne):
    """A second derivative, which has none of its own."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
        """Nothing is kept."""

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """Raises NotImplementedError."""
        raise NotImplementedError("a fused block has no third derivatives: use --blocks plain")
