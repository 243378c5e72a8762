"""The graph of a function, kept for its gradient or made again when the gradient is asked for."""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar, cast

import torch
from torch import Tensor
from torch.utils._pytree import (
    tree_flatten,
    tree_leaves,
    tree_map,
    tree_map_only,
    tree_unflatten,
)

from trainers.types import Params

Outputs = TypeVar("Outputs")
Told = TypeVar("Told")


class Graph(Protocol):
    """How a function is run that gives outputs, through which gradients flow, and what it tells of
    them. Both are nests of tuples, lists and dictionaries of tensors; what is told comes detached.
    """

    def __call__(
        self, function: Callable[..., tuple[Outputs, Told]], *inputs: Params
    ) -> tuple[Outputs, Told]: ...


def stored(function: Callable[..., tuple[Outputs, Told]], *inputs: Params) -> tuple[Outputs, Told]:
    """The function as it is: its graph stays until its gradient is taken."""
    outputs, told = function(*inputs)
    return outputs, tree_map_only(Tensor, Tensor.detach, told)


def recomputed(
    function: Callable[..., tuple[Outputs, Told]], *inputs: Params
) -> tuple[Outputs, Told]:
    """The same outputs, without a graph; `function` runs again where their gradient is taken.

    Only the inputs are kept in between. Gradients flow to the inputs alone: any other tensor that
    the function reads is a constant. An inner step taken so costs one Hessian-vector product more
    than its value, and no memory; the gradient is the same. It cannot be differentiated again.
    """
    leaves, spec = tree_flatten(inputs)

    def run(*leaves: Tensor) -> tuple[Outputs, Told]:
        return function(*tree_unflatten(leaves, spec))

    found_spec, *found = _Recomputed.apply(run, *leaves)
    return cast(tuple[Outputs, Told], tree_unflatten(found, found_spec))


class _Recomputed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, run: Callable[..., tuple[Any, Any]], *inputs: Tensor) -> tuple[Any, ...]:
        device = inputs[0].device.type
        is_on, dtype = torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)
        ctx.run, ctx.precision = run, lambda: torch.autocast(device, dtype, is_on)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs)
        outputs, told = run(*(tensor.detach() for tensor in inputs))
        ctx.mark_non_differentiable(*(leaf for leaf in tree_leaves(told) if leaf is not None))
        # Tensors of their own: one that is given twice would have one gradient.
        found, spec = tree_flatten((tree_map(Tensor.detach, outputs), told))
        return spec, *found

    @staticmethod
    def backward(ctx: Any, _: None, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # Else a second derivative would be left out in silence.
            raise RuntimeError("a recomputed function cannot be differentiated twice: store it")
        wanted = ctx.needs_input_grad[1:]
        leaves = [
            tensor.detach().requires_grad_(is_wanted)
            for tensor, is_wanted in zip(ctx.saved_tensors, wanted, strict=True)
        ]
        with torch.enable_grad(), ctx.precision():
            outputs, _ = ctx.run(*leaves)
        reached = [
            (output, cotangent)
            for output, cotangent in zip(tree_leaves(outputs), cotangents, strict=False)
            if cotangent is not None and output.requires_grad
        ]
        roots, of_roots = zip(*reached, strict=True) if reached else ((), ())
        wanted_leaves = [leaf for leaf in leaves if leaf.requires_grad]
        found = iter(torch.autograd.grad(roots, wanted_leaves, of_roots, allow_unused=True))
        return None, *(next(found) if is_wanted else None for is_wanted in wanted)
