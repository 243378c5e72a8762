"""The one inner loop: adapt weights to a support set by a rate scheme."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from trainers.rates.base import InnerStep, RateScheme, State
from trainers.recomputed import Graph, stored
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


class Told(NamedTuple):
    """What one inner step tells, detached: its pass, and what `Trace` keeps of it."""

    at: SupportPass
    rates: Tensor
    branch: Tensor | None
    grad_norms: Tensor


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
    graph: Graph = stored,
    fixed: Params | None = None,
    masks: Params | None = None,
    after_step: Callable[[int, Params, SupportPass], None] | None = None,
    ways: Tensor | None = None,
) -> tuple[Params, Trace]:
    """The fast weights after `steps` steps of `scheme` from `params`, and what the steps did.

    `support(params, j)` passes the support set, whose targets are `targets`; `params` are the
    tensors that adapt, described by `infos`, and are shown to it with the `fixed` ones. `masks`
    multiply gradients. The fast weights carry the graph back to all these tensors and `meta`, each
    step's as `graph` keeps it, as far as `differentiate` lets it. `after_step` is told of each step
    j done, the weights after it, and the pass before it, detached. `ways` is what `InnerStep` says.
    """

    def gradients(j: int, params: Params, fixed: Params, masks: Params) -> Gradients:
        return masked(differentiate, masks)(lambda weights: support(fixed | weights, j), params)

    def prepare(
        params: Params, meta: Params, fixed: Params, masks: Params
    ) -> tuple[tuple[Params, State], None]:
        found = scheme.prepare(meta, params, lambda: gradients(0, params, fixed, masks).grads)
        return found, None

    def take_step(
        j: int, params: Params, state: State, meta: Params, fixed: Params, masks: Params
    ) -> tuple[tuple[Params, State], Told]:
        grads, at = gradients(j, params, fixed, masks)
        seen = InnerStep(j, steps, infos, params, grads, at.loss, at.outputs, targets, ways)
        update = scheme.step(meta, seen, state)
        norms = torch.stack([grad.detach().norm() for grad in grads.values()])
        return (update.params, update.state), Told(at, update.rates, update.branch, norms)

    others = (meta, fixed or {}, masks or {})
    losses, rates, branches, grad_norms = [], [], [], []
    (params, state), _ = graph(prepare, params, *others)
    for j in range(steps):
        (params, state), told = graph(partial(take_step, j), params, state, *others)
        if after_step is not None:
            after_step(j, params, told.at)
        losses.append(told.at.loss)
        rates.append(told.rates)
        branches.append(
            torch.full_like(told.at.loss, torch.nan) if told.branch is None else told.branch
        )
        grad_norms.append(told.grad_norms)
    return params, Trace(_stack(losses), _stack(rates), _stack(branches), _stack(grad_norms))


def by_autograd(second_order: bool, training: bool) -> Differentiate:
    """Differentiates one task by `torch.autograd`.

    In training the gradients carry the graph in second order and are constants in first order (Finn
    et al. 2017, section 5.2). Outside training, and where gradients are switched off, no graph
    outlives its step.
    """

    def differentiate(support: Callable[[Params], SupportPass], params: Params) -> Gradients:
        # Tensors of this step's own, because the gradients are partial derivatives: a head made of
        # prototypes depends on the body, one of zeros on nothing that requires a gradient.
        keeps_graph = training and torch.is_grad_enabled()
        params = {
            name: param.view_as(param)
            if keeps_graph and param.requires_grad
            else param.detach().requires_grad_()
            for name, param in params.items()
        }
        with torch.enable_grad():
            at = support(params)
            grads = torch.autograd.grad(
                at.loss,
                list(params.values()),
                create_graph=keeps_graph and second_order,
                # An attached rate differentiates the loss once more, in first order too.
                retain_graph=keeps_graph,
            )
        if not keeps_graph:
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
