"""The one inner loop: adapt weights to a support set by a rate scheme."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from trainers.rates.base import InnerStep, RateScheme, State, Update
from trainers.types import Moments, ParamInfo, Params


class SupportPass(NamedTuple):
    """A pass of the support set: the 0-d loss, the outputs `[S, o]` and, where they are asked for,
    the moments of each normalisation layer."""

    loss: Tensor
    outputs: Tensor
    moments: Moments


class Gradients(NamedTuple):
    """The gradients of a support pass's loss, and the pass."""

    grads: Params
    at: SupportPass


PassSupport = Callable[[Params, int], SupportPass]
"""The pass of step j (from 0) with the adapted tensors."""

Differentiate = Callable[[Callable[[Params], SupportPass], Params], Gradients]


class Trace(NamedTuple):
    """What the inner steps did, detached.

    `losses` `[steps]` are the support losses before each step; `rates` `[steps]`, or `[steps, M]`
    for the M adapted tensors, what the scheme used; `branches` `[steps]` 1 where it took its first
    branch, 0 where not, nan where it has none; `grad_norms` `[steps, M]` the gradients' norms.
    """

    losses: Tensor
    rates: Tensor
    branches: Tensor
    grad_norms: Tensor


def no_steps() -> Trace:
    """The trace of an adaptation without steps."""
    return Trace(*[torch.empty(0)] * 4)


def adapt(
    support: PassSupport,
    targets: Tensor,
    scheme: RateScheme,
    meta: Params,
    infos: Sequence[ParamInfo],
    params: Params,
    steps: int,
    *,
    differentiate: Differentiate,
    after_step: Callable[[int, Params, SupportPass], None] | None = None,
    ways: Tensor | None = None,
) -> tuple[Params, Trace]:
    """The fast weights after `steps` steps of `scheme` from `params`, and what the steps did.

    `support(params, j)` passes the support set, whose targets are `targets`; `params` are the
    tensors that adapt, described by `infos`. The fast weights carry the graph back to `params` and
    `meta` as far as `differentiate` lets it. `after_step` is told of each step j done, the weights
    after it, and the pass before it. `ways` is what `InnerStep` says.
    """

    # A function of its own, so that a step's outputs and gradients are freed before the next's.
    def take_step(j: int, params: Params, state: State) -> tuple[Update, Tensor, Tensor]:
        grads, at = differentiate(lambda weights: support(weights, j), params)
        seen = InnerStep(j, steps, infos, params, grads, at.loss, at.outputs, targets, ways)
        update = scheme.step(meta, seen, state)
        if after_step is not None:
            after_step(j, update.params, at)
        norms = torch.stack([grad.detach().norm() for grad in grads.values()])
        return update, at.loss.detach(), norms

    losses, rates, branches, grad_norms = [], [], [], []
    params, state = scheme.prepare(
        meta, params, lambda: differentiate(lambda weights: support(weights, 0), params).grads
    )
    for j in range(steps):
        update, loss, norms = take_step(j, params, state)
        params, state = update.params, update.state
        losses.append(loss)
        rates.append(update.rates.detach())
        branches.append(
            torch.full_like(loss, torch.nan) if update.branch is None else update.branch
        )
        grad_norms.append(norms)
    return params, Trace(_stack(losses), _stack(rates), _stack(branches), _stack(grad_norms))


def by_autograd(second_order: bool, training: bool) -> Differentiate:
    """Differentiates one task by `torch.autograd`.

    In training the gradients carry the graph in second order and are constants in first order (Finn
    et al. 2017, section 5.2). Outside training no graph outlives its step.
    """

    def differentiate(support: Callable[[Params], SupportPass], params: Params) -> Gradients:
        # Tensors of this step's own, because the gradients are partial derivatives: a head made of
        # prototypes depends on the body, one of zeros on nothing that requires a gradient.
        params = {
            name: param.view_as(param)
            if training and param.requires_grad
            else param.detach().requires_grad_()
            for name, param in params.items()
        }
        with torch.enable_grad():
            at = support(params)
            grads = torch.autograd.grad(
                at.loss,
                list(params.values()),
                create_graph=training and second_order,
                # An attached rate differentiates the loss once more, in first order too.
                retain_graph=training,
            )
        if not training:
            at = SupportPass(at.loss.detach(), at.outputs.detach(), _detached(at.moments))
        return Gradients(dict(zip(params, grads, strict=True)), at)

    return differentiate


def by_function_transform(second_order: bool) -> Differentiate:
    """Differentiates by `torch.func.grad`, which `torch.func.vmap` batches over tasks."""

    def differentiate(support: Callable[[Params], SupportPass], params: Params) -> Gradients:
        def loss_and_pass(params: Params) -> tuple[Tensor, SupportPass]:
            at = support(params)
            return at.loss, at

        grads, at = torch.func.grad(loss_and_pass, has_aux=True)(params)
        if not second_order:
            grads = {name: grad.detach() for name, grad in grads.items()}
        return Gradients(grads, at)

    return differentiate


def masked(differentiate: Differentiate, masks: Params) -> Differentiate:
    """`differentiate`, with the gradients of the same names multiplied by `masks`."""
    if not masks:
        return differentiate

    def differentiate_and_mask(
        support: Callable[[Params], SupportPass], params: Params
    ) -> Gradients:
        grads, at = differentiate(support, params)
        return Gradients(grads | {name: masks[name] * grads[name] for name in masks}, at)

    return differentiate_and_mask


def _detached(moments: Moments) -> Moments:
    return [(mean.detach(), variance.detach()) for mean, variance in moments]


def _stack(tensors: list[Tensor]) -> Tensor:
    return torch.stack(tensors) if tensors else torch.empty(0)
