"""Outer gradients against finite differences of an independent implementation, and reductions."""

from collections.abc import Callable
from dataclasses import replace
from weakref import WeakSet

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from episodes.errors import UsageError
from trainers import algorithms
from trainers.algorithms import ANIL, BOIL, IMAML, MAML, R2D2, Adaptation, ProtoNet, TNet
from trainers.rates import Fixed, Personalized
from trainers.types import Params, Task

FIXED = Fixed(0.1)
DETACHED = Personalized(lr_min=0.05, lr_max=1.5)
ATTACHED = Personalized(lr_min=0.05, lr_max=1.5, detach_rate=False)
SCHEMES = {"fixed": FIXED, "detached": DETACHED, "attached": ATTACHED}
ORDERS = [
    pytest.param(MAML(), True, id="maml"),
    pytest.param(MAML(), False, id="fomaml"),
    pytest.param(ANIL(), True, id="anil"),
]


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
            loss = self.loss(weights, task.support_inputs, task.support_targets)
            own = torch.autograd.grad(loss, [weights[name] for name in self.adapted])
            used_gradients.append(own if gradients is None else gradients[j])
            used_rates.append(self.rate(loss.item()) if rates is None else rates[j])
            for name, gradient in zip(self.adapted, used_gradients[j], strict=True):
                weights[name] = weights[name] - used_rates[j] * gradient
        loss = self.loss(weights, task.query_inputs, task.query_targets).item()
        return loss, used_gradients, used_rates


def adaptation(backbone, scheme, steps, bn="batch", **options) -> Adaptation:
    return Adaptation(backbone, scheme, F.cross_entropy, backbone.way, steps, bn, **options)


def adapted_names(backbone, algorithm) -> set[str]:
    return {info.name for info in backbone.param_infos(algorithm.adapts) if info.adapted}


def outer_gradient(algorithm, backbone, scheme, params, task, steps, **options) -> Params:
    how = adaptation(backbone, scheme, steps, training=True, **options)
    result = algorithm.run(how, params, {}, task)
    grads = torch.autograd.grad(result.outer_loss, list(params.values()))
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
    ("algorithm", "second_order"),
    [
        *ORDERS,
        pytest.param(MAML(adapt_bn=False), True, id="maml-norm-fixed"),
        pytest.param(ANIL(), False, id="first-order-anil"),
        pytest.param(BOIL(), True, id="boil"),
        pytest.param(BOIL(adapt_bn=False), False, id="first-order-boil-norm-fixed"),
    ],
)
def test_outer_gradient(
    algorithm, second_order, scheme, steps, backbone, initial, random_task, sequential
):
    params, task = initial(backbone), random_task(backbone)
    reference = Reference(
        sequential(backbone, params), list(params), adapted_names(backbone, algorithm), scheme
    )
    loss, gradients, rates = reference.run(params, task, steps)
    frozen = {
        "gradients": None if second_order else gradients,
        "rates": rates if scheme is DETACHED else None,
    }

    how = adaptation(backbone, scheme, steps, training=True, second_order=second_order)
    result = algorithm.run(how, params, {}, task)
    gradient = outer_gradient(
        algorithm, backbone, scheme, params, task, steps, second_order=second_order
    )

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
        how = adaptation(backbone, FIXED, 1, "support")
        return algorithm.run(how, weights, {}, task).query_loss.item()

    gradient = outer_gradient(algorithm, backbone, FIXED, params, task, 1, bn="support")

    assert_gradient_is_slope_of(query_loss, params, gradient)


@pytest.mark.parametrize(("algorithm", "second_order"), ORDERS)
@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)
def test_evaluation_gives_the_figures_of_training(
    algorithm, second_order, scheme, backbone, initial, random_task
):
    params, task = initial(backbone), random_task(backbone)
    how = adaptation(backbone, scheme, 10, second_order=second_order)

    trained, evaluated = (
        algorithm.run(replace(how, training=training), params, {}, task)
        for training in (True, False)
    )

    assert torch.equal(trained.outputs, evaluated.outputs)
    assert torch.equal(trained.trace.losses, evaluated.trace.losses)
    assert torch.equal(trained.trace.rates, evaluated.trace.rates)
    assert trained.query_loss.requires_grad and not evaluated.query_loss.requires_grad


@pytest.mark.parametrize(("algorithm", "second_order"), ORDERS)
def test_personalized_below_every_loss_is_fixed_bit_for_bit(
    algorithm, second_order, backbone, random_task
):
    params = {
        key: param.requires_grad_()
        for key, param in backbone.init(torch.Generator().manual_seed(1)).items()
    }
    task = random_task(backbone, dtype=torch.float32)

    def gradient(scheme):
        return outer_gradient(
            algorithm, backbone, scheme, params, task, 3, second_order=second_order
        )

    personalized = gradient(Personalized(lr_min=0.07, lr_max=1e-6))
    fixed = gradient(Fixed(0.07))

    assert all(torch.equal(personalized[key], fixed[key]) for key in params)


def test_rates_differ_between_the_tasks_of_a_batch(backbone, initial, random_task):
    params = initial(backbone)

    how = adaptation(backbone, DETACHED, 2, training=True)
    rates = [
        MAML().run(how, params, {}, random_task(backbone, seed)).trace.rates.tolist()
        for seed in range(4)
    ]

    assert len({first for first, _ in rates}) == len({second for _, second in rates}) == 4


def test_support_mode_normalises_the_query_set_as_collected_from_the_support_set(
    backbone, initial, random_task, sequential
):
    params, task = initial(backbone), random_task(backbone)
    module = sequential(backbone, params, momentum=1.0)
    loss = F.cross_entropy(module(task.support_inputs), task.support_targets)
    loss.backward()
    for weight in module.parameters():
        weight.data -= 0.1 * weight.grad
    module(task.support_inputs)
    norms = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
    for norm, side in zip(norms, (16, 8, 4, 2), strict=True):
        values = len(task.support_inputs) * side * side
        norm.running_var *= (values - 1) / values
    module.eval()

    result = MAML().run(adaptation(backbone, FIXED, 1, "support"), params, {}, task)

    torch.testing.assert_close(result.outputs, module(task.query_inputs).detach())


def test_in_support_mode_query_inputs_do_not_see_each_other(backbone, initial, random_task):
    params, task = initial(backbone), random_task(backbone)
    alone = Task(
        task.support_inputs, task.support_targets, task.query_inputs[:1], task.query_targets[:1]
    )

    def logits(task, bn):
        return ANIL().run(adaptation(backbone, FIXED, 1, bn), params, {}, task).outputs

    torch.testing.assert_close(logits(task, "support")[:1], logits(alone, "support"))
    assert (logits(task, "batch")[:1] - logits(alone, "batch")).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("algorithm", "roles"),
    [
        (MAML(), {"conv", "bias", "norm", "head"}),
        (MAML(adapt_bn=False), {"conv", "bias", "head"}),
        (ANIL(), {"head"}),
        (BOIL(), {"conv", "bias", "norm"}),
        (BOIL(adapt_bn=False), {"conv", "bias"}),
        (ProtoNet(), set()),
    ],
)
def test_roles_that_adapt(algorithm, roles, backbone):
    infos = backbone.param_infos(algorithm.adapts)

    assert {info.role for info in infos if info.adapted} == roles
    assert {info.role for info in infos if not info.adapted}.isdisjoint(roles)


def test_build_by_name():
    assert algorithms.build("maml", adapt_bn=False) == MAML(adapt_bn=False)
    assert algorithms.build("proto-maml") == MAML()
    assert algorithms.build("mt-net") == TNet(masked=True)
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

    def counted_by_step(self, algorithm, how, params, task) -> list[int]:
        """The count when the head classifies: in each of five inner steps, then the query set."""
        counts = []

        class Counting(type(how.backbone)):
            def logits(self, params: Params, features: Tensor) -> Tensor:
                counts.append(len(saved.alive))
                return super().logits(params, features)

        saved = self
        with torch.autograd.graph.saved_tensors_hooks(self.pack, lambda kept: kept.tensor):
            algorithm.run(replace(how, backbone=Counting(2, 1, 16, filters=4)), params, {}, task)
        return counts


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)
@pytest.mark.parametrize(("algorithm", "second_order"), ORDERS)
def test_evaluation_keeps_no_graph(algorithm, second_order, scheme, backbone, initial, random_task):
    saved = SavedTensors()
    params, task = initial(backbone), random_task(backbone)
    how = adaptation(backbone, scheme, 5, second_order=second_order)

    for _ in range(3):
        counts = saved.counted_by_step(algorithm, how, params, task)
        # The features of the step's own graph are counted, the graphs of earlier steps are not.
        assert len(set(counts[:-1])) == 1
        assert counts[-1] == len(saved.alive) == 0


def test_second_order_keeps_every_step_and_first_order_none(backbone, initial, random_task):
    params, task = initial(backbone), random_task(backbone)

    how = adaptation(backbone, FIXED, 5, training=True)

    second, first = (
        SavedTensors().counted_by_step(
            MAML(), replace(how, second_order=second_order), params, task
        )[:5]
        for second_order in (True, False)
    )

    assert second == sorted(set(second))
    assert len(set(first)) == 1


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: IMAML(proximity=0), "proximity is 0, expected a number above 0"),
        (lambda: IMAML(cg_steps=0), "cg_steps is 0, expected at least 1"),
        (lambda: R2D2(ridge_lambda=-1.0), "ridge_lambda is -1.0, expected a finite number above 0"),
        (lambda: R2D2(ridge_scale=float("inf")), "ridge_scale is inf, expected a finite number"),
    ],
)
def test_settings_out_of_range_are_refused(build: Callable[[], object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build()


def test_a_layer_without_a_bias_is_transformed_too() -> None:
    weight, matrix = torch.randn(3, 2, 3, 3), torch.randn(3, 3)
    params = {"block.conv.weight": weight, "transform/block.conv": matrix}
    found = TNet().effective(params)["block.conv.weight"]
    torch.testing.assert_close(found, torch.einsum("oc,cikl->oikl", matrix, weight))
