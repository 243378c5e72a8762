"""Outer gradients against finite differences of an independent implementation, and reductions."""

from collections.abc import Callable
from weakref import WeakSet

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from episodes.errors import UsageError
from trainers import algorithms
from trainers.algorithms import ANIL, MAML
from trainers.rates import Fixed, Personalized
from trainers.types import Params, Task

FIXED = Fixed(0.1)
DETACHED = Personalized(lr_min=0.05, lr_max=1.5)
ATTACHED = Personalized(lr_min=0.05, lr_max=1.5, detach_rate=False)
SCHEMES = {"fixed": FIXED, "detached": DETACHED, "attached": ATTACHED}


class Reference:
    """MAML, ANIL and their first-order forms on torch.nn modules, step by step.

    `gradients` and `rates`, where given, replace those of each step: the terms that an outer
    gradient treats as constants.
    """

    def __init__(self, module: nn.Module, names: list[str], adapted: set[str], scheme) -> None:
        self.module, self.names, self.scheme = module, names, scheme
        self.adapted = [name for name in names if name in adapted]

    def loss(self, weights: Params, images: Tensor, labels: Tensor) -> Tensor:
        own = [name for name, _ in self.module.named_parameters()]
        values = {mine: weights[name] for mine, name in zip(own, self.names, strict=True)}
        return F.cross_entropy(functional_call(self.module, values, (images,)), labels)

    def rate(self, loss: float) -> float:
        if isinstance(self.scheme, Fixed):
            return self.scheme.lr
        return self.scheme.lr_max - loss if loss <= self.scheme.lr_max else self.scheme.lr_min

    def run(self, weights: Params, task: Task, steps: int, gradients=None, rates=None):
        """Query loss, and the gradients and rates of each step."""
        used_gradients, used_rates = [], []
        for j in range(steps):
            weights = {name: weight.detach().requires_grad_() for name, weight in weights.items()}
            loss = self.loss(weights, task.support_images, task.support_labels)
            own = torch.autograd.grad(loss, [weights[name] for name in self.adapted])
            used_gradients.append(own if gradients is None else gradients[j])
            used_rates.append(self.rate(loss.item()) if rates is None else rates[j])
            for name, gradient in zip(self.adapted, used_gradients[j], strict=True):
                weights[name] = weights[name] - used_rates[j] * gradient
        loss = self.loss(weights, task.query_images, task.query_labels).item()
        return loss, used_gradients, used_rates


def adapted_names(backbone, algorithm) -> set[str]:
    return {info.name for info in backbone.param_infos(algorithm.adapts) if info.adapted}


def outer_gradient(algorithm, backbone, scheme, params, task, steps, bn="batch") -> Params:
    result = algorithm.run(backbone, scheme, {}, params, task, steps, bn, training=True)
    grads = torch.autograd.grad(result.query_loss, list(params.values()))
    return dict(zip(params, grads, strict=True))


def assert_gradient_is_slope_of(
    function: Callable[[Params], float], params: Params, gradient: Params
) -> None:
    """Compares with the central difference along one random direction of each tensor."""
    generator = torch.Generator().manual_seed(0)
    step = 1e-6
    for name, param in params.items():
        direction = torch.randn(param.shape, generator=generator, dtype=param.dtype)
        forward, backward = (
            function({**params, name: (param + sign * step * direction).detach()})
            for sign in (1, -1)
        )
        slope = (forward - backward) / (2 * step)
        assert (gradient[name] * direction).sum().item() == pytest.approx(
            slope, rel=1e-5, abs=1e-7
        ), name


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)
@pytest.mark.parametrize(
    "algorithm",
    [MAML(), MAML(adapt_bn=False), MAML(second_order=False), ANIL(), ANIL(second_order=False)],
    ids=["maml", "maml-norm-fixed", "fomaml", "anil", "first-order-anil"],
)
def test_outer_gradient(algorithm, scheme, steps, backbone, initial, random_task, sequential):
    params, task = initial(backbone), random_task(backbone)
    reference = Reference(
        sequential(backbone, params), list(params), adapted_names(backbone, algorithm), scheme
    )
    loss, gradients, rates = reference.run(params, task, steps)
    frozen = {
        "gradients": None if algorithm.second_order else gradients,
        "rates": rates if scheme is DETACHED else None,
    }

    result = algorithm.run(backbone, scheme, {}, params, task, steps, "batch", training=True)
    gradient = outer_gradient(algorithm, backbone, scheme, params, task, steps)

    assert result.query_loss.item() == pytest.approx(loss, rel=1e-12)
    assert result.trace.rates.tolist() == pytest.approx(rates, rel=1e-12)
    assert_gradient_is_slope_of(
        lambda weights: reference.run(weights, task, steps, **frozen)[0], params, gradient
    )


@pytest.mark.parametrize("downsample", ["pool", "stride"])
@pytest.mark.parametrize("algorithm", [MAML(), ANIL()], ids=["maml", "anil"])
def test_outer_gradient_through_support_moments(
    algorithm, downsample, backbone, initial, random_task
):
    backbone = type(backbone)(2, 1, 16, filters=4, downsample=downsample)
    params, task = initial(backbone), random_task(backbone)

    def query_loss(weights: Params) -> float:
        run = algorithm.run(backbone, FIXED, {}, weights, task, 1, "support", training=False)
        return run.query_loss.item()

    gradient = outer_gradient(algorithm, backbone, FIXED, params, task, 1, "support")

    assert_gradient_is_slope_of(query_loss, params, gradient)


@pytest.mark.parametrize("algorithm", [MAML(), ANIL()], ids=["maml", "anil"])
def test_terms_that_are_not_constants_matter(algorithm, backbone, initial, random_task):
    params, task = initial(backbone), random_task(backbone)
    first_order = type(algorithm)(second_order=False)

    exact, without_gradients, without_rates = (
        outer_gradient(which, backbone, scheme, params, task, 2)["head.weight"]
        for which, scheme in ((algorithm, ATTACHED), (first_order, ATTACHED), (algorithm, DETACHED))
    )

    assert (exact - without_gradients).abs().max() > 1e-4
    assert (exact - without_rates).abs().max() > 1e-4


@pytest.mark.parametrize("name", ["maml", "fomaml", "anil"])
@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)
def test_evaluation_gives_the_figures_of_training(name, scheme, backbone, initial, random_task):
    algorithm, params, task = algorithms.build(name), initial(backbone), random_task(backbone)

    trained, evaluated = (
        algorithm.run(backbone, scheme, {}, params, task, 10, "batch", training=training)
        for training in (True, False)
    )

    assert torch.equal(trained.query_logits, evaluated.query_logits)
    assert torch.equal(trained.trace.losses, evaluated.trace.losses)
    assert torch.equal(trained.trace.rates, evaluated.trace.rates)
    assert trained.query_loss.requires_grad and not evaluated.query_loss.requires_grad


@pytest.mark.parametrize("name", ["maml", "fomaml", "anil"])
def test_personalized_below_every_loss_is_fixed_bit_for_bit(name, backbone, random_task):
    algorithm = algorithms.build(name)
    params = {
        key: param.requires_grad_()
        for key, param in backbone.init(torch.Generator().manual_seed(1)).items()
    }
    task = random_task(backbone, dtype=torch.float32)

    def gradient(scheme):
        return outer_gradient(algorithm, backbone, scheme, params, task, 3)

    personalized = gradient(Personalized(lr_min=0.07, lr_max=1e-6))
    fixed = gradient(Fixed(0.07))

    assert all(torch.equal(personalized[key], fixed[key]) for key in params)


def test_rates_differ_between_the_tasks_of_a_batch(backbone, initial, random_task):
    params = initial(backbone)

    rates = [
        algorithms.build("maml")
        .run(backbone, DETACHED, {}, params, random_task(backbone, seed), 2, "batch", training=True)
        .trace.rates.tolist()
        for seed in range(4)
    ]

    assert len({first for first, _ in rates}) == len({second for _, second in rates}) == 4


def test_anil_on_a_frozen_body_is_logistic_regression(backbone, initial, random_task):
    params, task = initial(backbone), random_task(backbone, shot=3)
    support, query = (
        backbone.features(params, images).detach().numpy()
        for images in (task.support_images, task.query_images)
    )
    weight, bias = (params[f"head.{name}"].detach().numpy() for name in ("weight", "bias"))
    one_hot = np.eye(backbone.way)[task.support_labels.numpy()]
    losses = []
    for _ in range(7):
        scores = np.exp(support @ weight.T + bias)
        probabilities = scores / scores.sum(1, keepdims=True)
        losses.append(-np.log((probabilities * one_hot).sum(1)).mean())
        error = (probabilities - one_hot) / len(support)
        weight, bias = weight - 0.3 * error.T @ support, bias - 0.3 * error.sum(0)

    result = ANIL().run(backbone, Fixed(0.3), {}, params, task, 7, "batch", training=False)

    np.testing.assert_allclose(result.trace.losses.numpy(), losses, rtol=1e-12)
    np.testing.assert_allclose(result.query_logits.numpy(), query @ weight.T + bias, rtol=1e-10)


def test_support_mode_normalises_the_query_set_as_collected_from_the_support_set(
    backbone, initial, random_task, sequential
):
    params, task = initial(backbone), random_task(backbone)
    module = sequential(backbone, params, momentum=1.0)
    loss = F.cross_entropy(module(task.support_images), task.support_labels)
    loss.backward()
    for weight in module.parameters():
        weight.data -= 0.1 * weight.grad
    module(task.support_images)
    norms = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
    for norm, side in zip(norms, (16, 8, 4, 2), strict=True):
        values = len(task.support_images) * side * side
        norm.running_var *= (values - 1) / values
    module.eval()

    result = MAML().run(backbone, FIXED, {}, params, task, 1, "support", training=False)

    torch.testing.assert_close(result.query_logits, module(task.query_images).detach())


def test_in_support_mode_query_images_do_not_see_each_other(backbone, initial, random_task):
    params, task = initial(backbone), random_task(backbone)
    alone = Task(
        task.support_images, task.support_labels, task.query_images[:1], task.query_labels[:1]
    )

    def logits(task, bn):
        return ANIL().run(backbone, FIXED, {}, params, task, 1, bn, training=False).query_logits

    torch.testing.assert_close(logits(task, "support")[:1], logits(alone, "support"))
    assert (logits(task, "batch")[:1] - logits(alone, "batch")).abs().max() > 1e-3


@pytest.mark.parametrize("bn", ["running", "per-step", "transductive"])
def test_other_batch_norm_modes_are_refused(bn, backbone, initial, random_task):
    with pytest.raises(UsageError, match=f"{bn}.*batch, support"):
        MAML().run(
            backbone, FIXED, {}, initial(backbone), random_task(backbone), 1, bn, training=False
        )


@pytest.mark.parametrize(
    ("algorithm", "roles"),
    [
        (MAML(), {"conv", "bias", "norm", "head"}),
        (MAML(adapt_bn=False), {"conv", "bias", "head"}),
        (ANIL(), {"head"}),
    ],
)
def test_roles_that_adapt(algorithm, roles, backbone):
    infos = backbone.param_infos(algorithm.adapts)

    assert {info.role for info in infos if info.adapted} == roles
    assert {info.role for info in infos if not info.adapted}.isdisjoint(roles)


def test_build_by_name():
    assert algorithms.build("maml", adapt_bn=False) == MAML(adapt_bn=False)
    assert algorithms.build("fomaml") == MAML(second_order=False)
    assert algorithms.build("anil") == ANIL()
    with pytest.raises(UsageError, match="did you mean 'fomaml'"):
        algorithms.build("fo-maml")


class SavedTensors:
    """Counts the tensors that graphs alive at this moment have saved."""

    def __init__(self) -> None:
        self.alive: WeakSet[SavedTensors.Kept] = WeakSet()

    class Kept:
        def __init__(self, tensor: Tensor) -> None:
            self.tensor = tensor

    def pack(self, tensor: Tensor) -> "SavedTensors.Kept":
        kept = self.Kept(tensor.detach())
        self.alive.add(kept)
        return kept

    def counted_by_step(self, algorithm, backbone, scheme, params, task, training) -> list[int]:
        """The count when the head classifies: in each of five inner steps, then the query set."""
        counts = []

        class Counting(type(backbone)):
            def logits(self, params: Params, features: Tensor) -> Tensor:
                counts.append(len(saved.alive))
                return super().logits(params, features)

        saved = self
        with torch.autograd.graph.saved_tensors_hooks(self.pack, lambda kept: kept.tensor):
            algorithm.run(
                Counting(2, 1, 16, filters=4), scheme, {}, params, task, 5, "batch", training
            )
        return counts


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)
@pytest.mark.parametrize("name", ["maml", "fomaml", "anil"])
def test_evaluation_keeps_no_graph(name, scheme, backbone, initial, random_task):
    saved = SavedTensors()
    algorithm, params, task = algorithms.build(name), initial(backbone), random_task(backbone)

    for _ in range(3):
        counts = saved.counted_by_step(algorithm, backbone, scheme, params, task, training=False)
        # The features of the step's own graph are counted, the graphs of earlier steps are not.
        assert len(set(counts[:-1])) == 1
        assert counts[-1] == len(saved.alive) == 0


def test_second_order_keeps_every_step_and_first_order_none(backbone, initial, random_task):
    params, task = initial(backbone), random_task(backbone)

    second, first = (
        SavedTensors().counted_by_step(algorithm, backbone, FIXED, params, task, training=True)[:5]
        for algorithm in (MAML(), MAML(second_order=False))
    )

    assert second == sorted(set(second))
    assert len(set(first)) == 1
