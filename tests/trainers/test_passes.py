"""What normalises, which head a task starts from, and which query losses count, by torch.nn."""

from collections.abc import Callable, Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainers.algorithms import ANIL, MAML, Adaptation
from trainers.backbones import Conv4
from trainers.rates import Fixed
from trainers.types import Params, Task

RATE, STEPS = 0.1, 3


def adaptation(backbone: Conv4, steps: int = STEPS, **options) -> Adaptation:
    return Adaptation(backbone, Fixed(RATE), F.cross_entropy, backbone.way, steps, **options)


class Descent:
    """Gradient descent on the support set in plain autograd, norms' parameters chosen by step."""

    def __init__(
        self, module: nn.Sequential, params: Params, task: Task, frozen: Sequence[str] = ()
    ) -> None:
        self.module, self.task = module, task
        self.norms = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
        self.params = params
        self.names = [name for name in params if name not in frozen]
        self.moments: list[list[tuple[Tensor, Tensor]]] = []
        for norm in self.norms:
            norm.register_forward_hook(self._note)
        self.set_step(0, everything=True)

    def set_step(self, j: int, everything: bool = False) -> None:
        """Take the norms' parameters of step j, where they have one for each."""
        targets = dict(zip(self.params, self.module.parameters(), strict=True))
        for name, target in targets.items():
            source = self.params[name].detach()
            if source.dim() > target.dim():
                target.data.copy_(source[min(j, len(source) - 1)])
            elif everything:
                target.data.copy_(source)

    def step(self, j: int) -> None:
        self.set_step(j)
        self.moments.append([])
        loss = F.cross_entropy(self.module(self.task.support_inputs), self.task.support_targets)
        targets = dict(zip(self.params, self.module.parameters(), strict=True))
        grads = torch.autograd.grad(loss, [targets[name] for name in self.names])
        for name, grad in zip(self.names, grads, strict=True):
            targets[name].data -= RATE * grad

    def query(self) -> tuple[Tensor, Tensor]:
        """The outputs and the loss, normalised by the query set's own moments."""
        outputs = self.module(self.task.query_inputs).detach()
        return outputs, F.cross_entropy(outputs, self.task.query_targets)

    def query_normalised_by(self, moments: list[tuple[Tensor, Tensor]]) -> Tensor:
        self.module.eval()
        for norm, (mean, variance) in zip(self.norms, moments, strict=True):
            norm.running_mean, norm.running_var = mean, variance
        return self.module(self.task.query_inputs).detach()

    def _note(self, module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        if self.moments and module.training:
            maps = inputs[0].detach()
            spread = maps.var((0, 2, 3), correction=0)
            self.moments[-1].append((maps.mean((0, 2, 3)), spread))


def norm_names(backbone: Conv4) -> list[str]:
    return [info.name for info in backbone.param_infos(bool) if info.role == "norm"]


@pytest.fixture
def per_step(backbone: Conv4, initial: Callable[..., Params]) -> Params:
    """Norms with a scale and an offset of their own for each of the steps."""
    draws = [initial(backbone, seed) for seed in range(STEPS)]
    stacked = {name: torch.stack([draw[name] for draw in draws]) for name in norm_names(backbone)}
    return {**draws[0], **{n: t.detach().requires_grad_() for n, t in stacked.items()}}


@pytest.mark.parametrize("steps", [STEPS, STEPS + 2])
def test_each_step_has_its_norms_and_later_ones_the_last(
    steps, per_step, backbone, random_task, sequential
):
    task = random_task(backbone)
    by_hand = Descent(sequential(backbone).double(), per_step, task, norm_names(backbone))
    for j in range(steps):
        by_hand.step(j)
    outputs, loss = by_hand.query()

    how = adaptation(backbone, steps, bn="per-step")
    result = MAML(adapt_bn=False).run(how, per_step, {}, task)

    torch.testing.assert_close(result.outputs, outputs)
    assert result.query_loss.item() == pytest.approx(loss.item())


def test_query_losses_after_each_step_are_weighed(per_step, backbone, random_task, sequential):
    """With the norms of the step before them."""
    task, weights = random_task(backbone), (0.5, 0.3, 0.2)
    by_hand = Descent(sequential(backbone).double(), per_step, task, norm_names(backbone))
    losses = []
    for j in range(STEPS):
        by_hand.step(j)
        losses.append(by_hand.query()[1].item())

    how = adaptation(backbone, bn="per-step", query_weights=weights, training=True)
    result = MAML(adapt_bn=False).run(how, per_step, {}, task)

    expected = sum(weight * loss for weight, loss in zip(weights, losses, strict=True))
    assert result.outer_loss.item() == pytest.approx(expected, rel=1e-10)
    assert result.query_loss.item() == pytest.approx(losses[-1], rel=1e-10)
    result.outer_loss.backward()
    assert all(per_step[name].grad.abs().amax(1).min() > 0 for name in norm_names(backbone))


def test_without_weights_the_last_query_loss_counts(backbone, initial, random_task):
    params, task = initial(backbone), random_task(backbone)

    plain = MAML().run(adaptation(backbone), params, {}, task)
    last = MAML().run(adaptation(backbone, query_weights=(0.0, 0.0, 1.0)), params, {}, task)

    assert plain.outer_loss == plain.query_loss == last.outer_loss


@pytest.mark.parametrize("algorithm", [MAML(), MAML(adapt_bn=False)])
def test_running_moments_are_an_average_over_the_steps(
    algorithm, backbone, initial, random_task, sequential
):
    params, task = initial(backbone), random_task(backbone)
    frozen = [] if algorithm.adapt_bn else norm_names(backbone)
    by_hand = Descent(sequential(backbone).double(), params, task, frozen)
    for j in range(STEPS):
        by_hand.step(j)
    running = by_hand.moments[0]
    for later in by_hand.moments[1:]:
        running = [
            (0.9 * mean + 0.1 * new_mean, 0.9 * variance + 0.1 * new_variance)
            for (mean, variance), (new_mean, new_variance) in zip(running, later, strict=True)
        ]

    result = algorithm.run(adaptation(backbone, bn="running"), params, {}, task)

    torch.testing.assert_close(result.outputs, by_hand.query_normalised_by(running))


def test_in_training_running_moments_are_not_used(backbone, initial, random_task):
    params, task = initial(backbone), random_task(backbone)

    running, batch = (
        MAML().run(adaptation(backbone, bn=bn, training=True), params, {}, task).outputs
        for bn in ("running", "batch")
    )

    assert torch.equal(running, batch)


@pytest.mark.parametrize("steps", [0, STEPS])
def test_running_moments_of_a_body_that_does_not_adapt_are_its_own(
    steps, backbone, initial, random_task
):
    params, task = initial(backbone), random_task(backbone)

    running, support = (
        ANIL().run(adaptation(backbone, steps, bn=bn), params, {}, task).outputs
        for bn in ("running", "support")
    )

    torch.testing.assert_close(running, support)


def test_without_steps_running_moments_are_those_of_the_support_set(backbone, initial, random_task):
    params, task = initial(backbone), random_task(backbone)

    running, support = (
        MAML().run(adaptation(backbone, 0, bn=bn), params, {}, task).outputs
        for bn in ("running", "support")
    )

    assert torch.equal(running, support)


def test_a_head_of_zeros(backbone, initial, random_task, sequential):
    params, task = initial(backbone), random_task(backbone)
    zeros = {name: torch.zeros_like(params[name]) for name in ("head.weight", "head.bias")}
    by_hand = Descent(sequential(backbone).double(), params | zeros, task)
    for j in range(STEPS):
        by_hand.step(j)

    how = adaptation(backbone, head_init="zero", training=True)
    result = MAML().run(how, params, {}, task)

    torch.testing.assert_close(result.outputs.detach(), by_hand.query()[0])
    assert result.trace.losses[0].item() == pytest.approx(torch.tensor(2.0).log().item())
    unused = torch.autograd.grad(
        result.outer_loss, [params["head.weight"], params["head.bias"]], allow_unused=True
    )
    assert unused == (None, None)


@pytest.mark.parametrize("algorithm", [MAML(), ANIL()], ids=["maml", "anil"])
def test_a_head_of_prototypes_before_any_step_is_the_nearest_class_mean(
    algorithm, backbone, initial, random_task
):
    params, task = initial(backbone), random_task(backbone)
    support, query = (
        backbone.features(params, inputs).detach()
        for inputs in (task.support_inputs, task.query_inputs)
    )
    means = torch.stack([support[task.support_targets == label].mean(0) for label in (0, 1)])
    distances = torch.cdist(query, means).square()

    result = algorithm.run(adaptation(backbone, 0, head_init="prototypes"), params, {}, task)

    torch.testing.assert_close(
        result.outputs.log_softmax(1), (-distances).log_softmax(1), rtol=1e-8, atol=1e-10
    )


def test_prototypes_adapt_from_there(backbone, initial, random_task, sequential):
    params, task = initial(backbone), random_task(backbone)
    support = backbone.features(params, task.support_inputs).detach()
    means = torch.stack([support[task.support_targets == label].mean(0) for label in (0, 1)])
    head = {"head.weight": 2 * means, "head.bias": -means.square().sum(1)}
    by_hand = Descent(sequential(backbone).double(), params | head, task)
    for j in range(STEPS):
        by_hand.step(j)

    result = MAML().run(adaptation(backbone, head_init="prototypes"), params, {}, task)

    torch.testing.assert_close(result.outputs, by_hand.query()[0])
