"""A network with a parameter of every role, small enough for finite differences in float64.

Also a weight with a quadratic loss, for what can be computed by hand.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from trainers.inner_loop import SupportPass, Trace, adapt, by_autograd, by_function_transform
from trainers.rates import RateScheme
from trainers.types import ParamInfo, Params

INFOS = [
    ParamInfo("conv.weight", (2, 1, 3, 3), "conv", "conv", True),
    ParamInfo("conv.bias", (2,), "conv", "bias", True),
    ParamInfo("norm.weight", (2,), "norm", "norm", True),
    ParamInfo("norm.bias", (2,), "norm", "norm", True),
    # As many units as filters, so that what is taken from the wrong layer has a fitting shape.
    ParamInfo("hidden.weight", (2, 8), "hidden", "linear", True),
    ParamInfo("hidden.bias", (2,), "hidden", "bias", True),
    ParamInfo("head.weight", (1, 2), "head", "head", True),
    ParamInfo("head.bias", (1,), "head", "head", True),
]


class Tasks(NamedTuple):
    """Inputs `[n, 1, 4, 4]` and targets `[n, 1]` of both sets; more tasks have a leading axis."""

    support_inputs: Tensor
    support_targets: Tensor
    query_inputs: Tensor
    query_targets: Tensor


def draw_tasks(count: int | None = None, dtype: torch.dtype = torch.float64) -> Tasks:
    """One task, or `count` of them."""
    generator = torch.Generator().manual_seed(3)
    axes = () if count is None else (count,)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*axes, *shape, generator=generator, dtype=torch.float64).to(dtype)

    return Tasks(draw(4, 1, 4, 4), draw(4, 1), draw(5, 1, 4, 4), draw(5, 1))


def draw_params(dtype: torch.dtype = torch.float64) -> Params:
    generator = torch.Generator().manual_seed(1)
    draws = {
        info.name: torch.randn(info.shape, generator=generator, dtype=torch.float64)
        for info in INFOS
    }
    draws["norm.weight"] += 1
    return {name: draw.to(dtype).requires_grad_() for name, draw in draws.items()}


def draw_meta(scheme: RateScheme, steps: int, noise: float = 0.1) -> Params:
    """Its meta-parameters in float64, away from where they begin."""
    generator = torch.Generator().manual_seed(2)
    meta = scheme.init(INFOS, steps, generator)
    return {
        name: (value + noise * torch.randn(value.shape, generator=generator))
        .double()
        .requires_grad_()
        for name, value in meta.items()
    }


def predict(params: Params, inputs: Tensor) -> Tensor:
    maps = F.conv2d(inputs, params["conv.weight"], params["conv.bias"])
    # Written out: under vmap torch 2.15 differentiates F.batch_norm wrongly, a second time, where
    # its scale is batched.
    variance, mean = torch.var_mean(maps, (0, 2, 3), correction=0, keepdim=True)
    maps = (maps - mean) * torch.rsqrt(variance + 1e-5)
    maps = maps * params["norm.weight"][:, None, None] + params["norm.bias"][:, None, None]
    hidden = F.linear(maps.tanh().flatten(1), params["hidden.weight"], params["hidden.bias"]).tanh()
    return F.linear(hidden, params["head.weight"], params["head.bias"])


def support_gradients(params: Params, task: Tasks) -> Params:
    """Their values, without a graph."""
    leaves = {name: param.detach().requires_grad_() for name, param in params.items()}
    loss = F.mse_loss(predict(leaves, task.support_inputs), task.support_targets)
    return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))


def query_loss(params: Params, task: Tasks) -> Tensor:
    return F.mse_loss(predict(params, task.query_inputs), task.query_targets)


def adapted(
    scheme: RateScheme,
    meta: Params,
    params: Params,
    task: Tasks,
    steps: int,
    *,
    second_order: bool = True,
    batched: bool = False,
) -> tuple[Params, Trace]:
    """The inner loop of the package on this network."""

    def support(weights: Params, j: int) -> SupportPass:
        outputs = predict(weights, task.support_inputs)
        return SupportPass(F.mse_loss(outputs, task.support_targets), outputs, [])

    differentiate = (
        by_function_transform(second_order) if batched else by_autograd(second_order, training=True)
    )
    targets = task.support_targets
    return adapt(support, targets, scheme, meta, INFOS, params, steps, differentiate=differentiate)


def adapt_quadratic(
    scheme: RateScheme, meta: Params, steps: int, start: float = 2.0
) -> tuple[float, Trace]:
    """One weight with the loss 3/2 (w - 1/2)^2, whose gradient is 3 (w - 1/2), adapted."""
    info = ParamInfo("w.weight", (1, 1), "w", "linear", True)
    w = torch.full((1, 1), start, dtype=torch.float64, requires_grad=True)

    def support(weights: Params, j: int) -> SupportPass:
        loss = 1.5 * (weights["w.weight"] - 0.5).square().sum()
        return SupportPass(loss, weights["w.weight"], [])

    fast, trace = adapt(
        support,
        torch.zeros(1, 1),
        scheme,
        meta,
        [info],
        {info.name: w},
        steps,
        differentiate=by_autograd(second_order=True, training=True),
    )
    return fast[info.name].item(), trace


def assert_derivatives(
    value: Callable[[Params], Tensor], tensors: Params, gradients: Params, step: float = 1e-5
) -> None:
    """Central differences of `value` along two random directions of each tensor, one at a time."""
    generator = torch.Generator().manual_seed(4)
    for name, tensor in tensors.items():
        for _ in range(2):
            direction = torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
            with torch.no_grad():
                ahead, behind = (
                    {**tensors, name: tensor + sign * step * direction} for sign in (1, -1)
                )
            difference = (value(ahead) - value(behind)).item() / (2 * step)
            derivative = (gradients[name] * direction).sum().item()
            assert abs(derivative - difference) < 1e-7 + 1e-6 * abs(difference), name


def assert_batch_equals_loop(scheme: RateScheme, steps: int = 3) -> None:
    """Fast weights, rates and outer gradients of tasks adapted at once and one by one, to 1e-10."""
    tasks, params, meta = draw_tasks(3), draw_params(), draw_meta(scheme, steps)
    leaves = [*params.values(), *meta.values()]

    def run(task: Tasks, batched: bool) -> tuple[Params, Tensor, Tensor]:
        fast, trace = adapted(scheme, meta, params, task, steps, batched=batched)
        return fast, trace.rates, query_loss(fast, task)

    fast, rates, losses = torch.vmap(lambda *task: run(Tasks(*task), True))(*tasks)
    gradients = torch.autograd.grad(losses.mean(), leaves, allow_unused=True)
    single = [run(Tasks(*task), False) for task in zip(*tasks, strict=True)]
    expected = torch.autograd.grad(sum(loss for *_, loss in single) / 3, leaves, allow_unused=True)

    for index, (one_fast, one_rates, _) in enumerate(single):
        torch.testing.assert_close(rates[index], one_rates, rtol=0, atol=1e-10)
        for name, value in one_fast.items():
            torch.testing.assert_close(fast[name][index], value, rtol=0, atol=1e-10)
    for ours, theirs in zip(gradients, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)
