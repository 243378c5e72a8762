"""The one inner loop: adapt weights to a support set by a rate scheme."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from trainers.rates.base import RateScheme, State
from trainers.types import Params

SupportLoss = Callable[[Params], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Trace:
    """What the inner steps did, detached, `[steps]` each.

    `losses` are the support losses before each step; `rates` what the scheme used; `branches` 1
    where it took its first branch, 0 where not, nan where it has none.
    """

    losses: Tensor
    rates: Tensor
    branches: Tensor


def adapt(
    support_loss: SupportLoss,
    targets: Tensor,
    scheme: RateScheme,
    meta: Params,
    params: Params,
    steps: int,
    *,
    second_order: bool,
    training: bool,
) -> tuple[Params, Trace]:
    """The fast weights after `steps` steps of `scheme` from `params`, and what the steps did.

    `support_loss(params)` gives the 0-d support loss and the logits `[S, way]` of `targets` `[S]`;
    `params` are the adapted tensors only. In training the fast weights carry the graph back to
    `params` and `meta`: through the inner gradients in second order, past them in first order (Finn
    et al. 2017, section 5.2). Outside training no graph outlives its step.
    """

    def loss_and_grads(params: Params) -> tuple[Tensor, Tensor, Params]:
        if not training:
            params = {name: param.detach().requires_grad_() for name, param in params.items()}
        with torch.enable_grad():
            loss, logits = support_loss(params)
            grads = torch.autograd.grad(
                loss,
                list(params.values()),
                create_graph=training and second_order,
                # An attached rate differentiates the loss once more, in first order too.
                retain_graph=training,
            )
        return loss, logits, dict(zip(params, grads, strict=True))

    # A function of its own, so that a step's logits and gradients are freed before the next step's.
    def take_step(j: int, params: Params, state: State) -> tuple[Params, State, Tensor]:
        loss, logits, grads = loss_and_grads(params)
        params, state = scheme.step(meta, j, params, grads, loss, logits, targets, state)
        return params, state, loss.detach()

    losses, rates, branches = [], [], []
    with torch.set_grad_enabled(training):
        params, state = scheme.prepare(meta, params, lambda: loss_and_grads(params)[2])
        for j in range(steps):
            params, state, loss = take_step(j, params, state)
            losses.append(loss)
            rates.append(state["rate"].detach())
            branches.append(state.get("branch", torch.full_like(loss, torch.nan)))
    return params, Trace(_stack(losses), _stack(rates), _stack(branches))


def _stack(tensors: list[Tensor]) -> Tensor:
    return torch.stack(tensors) if tensors else torch.empty(0)
