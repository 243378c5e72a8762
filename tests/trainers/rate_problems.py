"""What is checked of every learned rate scheme, on the tiny network."""

from dataclasses import dataclass, field, replace

import torch

from tests.trainers.tiny_network import (
    INFOS,
    adapted,
    assert_derivatives,
    draw_meta,
    draw_params,
    draw_tasks,
    query_loss,
)
from trainers.rates.base import InnerStep, RateScheme, State, Update
from trainers.types import Params


@dataclass(frozen=True)
class Held(RateScheme):
    """A scheme whose first run fixes the losses and gradients that its later runs are shown."""

    scheme: RateScheme
    seen: list[InnerStep] = field(default_factory=list)

    def prepare(self, meta, params, support_grads) -> tuple[Params, State]:
        return self.scheme.prepare(meta, params, support_grads)

    def step(self, meta: Params, at: InnerStep, state: State) -> Update:
        if at.j == len(self.seen):
            self.seen.append(at)
        then = self.seen[at.j]
        grads = {name: grad.detach() for name, grad in then.grads.items()}
        return self.scheme.step(meta, replace(at, grads=grads, loss=then.loss.detach()), state)


def assert_outer_gradient(
    scheme: RateScheme,
    steps: int,
    *,
    second_order: bool = True,
    stops_gradients: bool = False,
    noise: float = 0.1,
) -> None:
    """The outer gradient of initial weights and meta-parameters is that of central differences.

    In first order, and where the scheme itself stops gradients and losses, the differences are
    taken of the problem in which they are held. Every tensor must have a gradient, but the bias
    that batch normalisation removes and its meta-parameters.
    """
    task, params, meta = draw_tasks(), draw_params(), draw_meta(scheme, steps, noise)
    leaves = {("", name): value for name, value in params.items()}
    leaves |= {("meta", name): value for name, value in meta.items()}

    def outer_loss(tensors, scheme: RateScheme) -> torch.Tensor:
        metas = {name: value for (kind, name), value in tensors.items() if kind}
        starts = {name: value for (kind, name), value in tensors.items() if not kind}
        starts = {
            name: start if start.requires_grad else start.detach().requires_grad_()
            for name, start in starts.items()
        }
        fast, _ = adapted(scheme, metas, starts, task, steps, second_order=second_order)
        return query_loss(fast, task)

    gradients = torch.autograd.grad(outer_loss(leaves, scheme), list(leaves.values()))
    gradients = dict(zip(leaves, gradients, strict=True))
    held = Held(scheme)
    outer_loss(leaves, held)
    is_held = stops_gradients or not second_order

    assert_derivatives(
        lambda tensors: outer_loss(tensors, held if is_held else scheme), leaves, gradients
    )
    for key, gradient in gradients.items():
        if not key[1].endswith("conv.bias"):
            assert gradient.abs().max() > 1e-7, f"{key} has no gradient"


def assert_same_steps(scheme: RateScheme, other: RateScheme, steps: int = 3) -> None:
    """In float32, bit for bit the same fast weights from the schemes' own starts."""
    task, params = draw_tasks(dtype=torch.float32), draw_params(torch.float32)
    one, two = (
        adapted(which, which.init(INFOS, steps, torch.Generator()), params, task, steps)[0]
        for which in (scheme, other)
    )
    for name in params:
        assert torch.equal(one[name], two[name]), name
    assert not torch.equal(one["head.weight"], params["head.weight"])
