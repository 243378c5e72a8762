"""What schemes and algorithms become in special cases, outer gradients included."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.trainers.exactness.problems import METHODS, NETWORK, WAY, Problem, method, problem
from trainers.algorithms import ANIL, BOIL, MAML, ProtoNet, TNet
from trainers.rates import Attenuated, Fixed, Hypergradient, Personalized, RateScheme, Update
from trainers.rates.alfa import Alfa
from trainers.rates.curvature import MetaCurvature
from trainers.rates.lslr import LSLR
from trainers.rates.meta_sgd import MetaSGD
from trainers.rates.pamela import Pamela
from trainers.rates.schedules import Cosine, Linear, Step
from trainers.types import Params

RATE, STEPS = 0.1, 3
SAME_AS_FIXED = {
    "personalized above lr_max": Personalized(lr_min=RATE, lr_max=0.2),
    "pamela": Pamela(RATE, interval=1),
    "pamela, block_end": Pamela(RATE, index="block_end"),
    "lslr": LSLR(RATE),
    "meta-sgd": MetaSGD(RATE),
    "hypergradient": Hypergradient(RATE),
    "curvature": MetaCurvature(RATE),
    "alfa without decay": Alfa(RATE, weight_decay=0.0, unit_start=True),
    "linear": Linear(RATE, lr_min=RATE),
    "step": Step(RATE, factor=1.0),
    "cosine": Cosine(RATE, lr_min=RATE),
}


@dataclass(frozen=True)
class WithDecay(RateScheme):
    """theta' = (1 - decay) theta - rate g."""

    rate: float
    decay: float

    def step(self, meta: Params, at, state) -> Update:
        moved = {n: (1 - self.decay) * p - self.rate * at.grads[n] for n, p in at.params.items()}
        return Update(moved, torch.full_like(at.loss, self.rate))


def at_start(chosen: str, scheme: RateScheme, dtype: torch.dtype) -> Problem:
    """A problem whose meta-parameters are those that the scheme begins with."""
    at = problem(METHODS[chosen], scheme, STEPS, noise=0.0)

    def cast(tensors: Params) -> Params:
        return {
            name: tensor.detach().to(dtype).requires_grad_() for name, tensor in tensors.items()
        }

    inputs = {
        name: getattr(at.tasks, name).to(dtype) for name in ("support_inputs", "query_inputs")
    }
    tasks = at.tasks._replace(**inputs)
    # The start is of float32: 0.1 there is what float32 makes of 0.1.
    return replace(at, params=cast(at.params), meta=cast(at.meta), tasks=tasks)


def assert_equal_gradients(one: Problem, other: Problem, tolerance: float) -> None:
    """Of the initial weights."""
    losses = [at.algorithm.run(at.how, at.params, at.meta, at.task()) for at in (one, other)]
    torch.testing.assert_close(losses[0].outputs, losses[1].outputs, rtol=0, atol=tolerance)
    ours, theirs = (
        torch.autograd.grad(result.outer_loss, list(at.params.values()))
        for result, at in zip(losses, (one, other), strict=True)
    )
    for name, left, right in zip(one.params, ours, theirs, strict=True):
        torch.testing.assert_close(left, right, rtol=0, atol=tolerance, msg=name)
    assert max(gradient.abs().max() for gradient in ours) > 1e-3


@pytest.mark.parametrize("name", SAME_AS_FIXED)
@pytest.mark.parametrize("chosen", ["maml", "fomaml", "anil"])
def test_bit_for_bit_the_fixed_rate(chosen, name):
    """The adapted weights' outputs; the outer gradient where nothing but the rate is different."""
    ours = at_start(chosen, SAME_AS_FIXED[name], torch.float32)
    fixed = at_start(chosen, Fixed(RATE), torch.float32)

    outputs = [
        at.algorithm.run(at.how, at.params, at.meta, at.task()).outputs for at in (ours, fixed)
    ]

    assert torch.equal(*outputs)
    assert_equal_gradients(ours, fixed, 1e-6)


def test_alfa_with_unit_start_is_descent_with_decay():
    alfa = at_start("maml", Alfa(RATE, weight_decay=0.5, unit_start=True), torch.float64)
    decayed = at_start("maml", WithDecay(RATE, RATE * 0.5), torch.float64)

    # 0.1 and 0.05 are float32 in the scheme's start.
    assert_equal_gradients(alfa, decayed, 1e-6)


def test_full_attenuation_gamma_of_one_is_the_scheme_alone():
    attenuated = at_start("maml", Attenuated(Fixed(RATE)), torch.float64)
    for name, tensor in attenuated.meta.items():
        tensor.data.fill_(100.0 if name == "attenuation/2.bias" else 0.0)

    assert_equal_gradients(attenuated, at_start("maml", Fixed(RATE), torch.float64), 1e-12)


@pytest.mark.parametrize("algorithm, still", [(ANIL(), "body"), (BOIL(), "head")])
def test_partial_adaptation_is_maml_with_rates_of_zero(algorithm, still):
    maml = at_start("maml", LSLR(RATE), torch.float64)
    for name, rate in maml.meta.items():
        if name.startswith("rate/head.") == (still == "head"):
            rate.data.zero_()
    partial = replace(maml, algorithm=algorithm)
    partial = replace(
        partial,
        meta={
            n: t for n, t in maml.meta.items() if n.startswith("rate/head.") != (still == "head")
        },
    )

    assert_equal_gradients(partial, maml, 1e-12)


def test_anil_is_logistic_regression_on_the_frozen_body():
    """By gradient descent, in NumPy."""
    at = problem(METHODS["anil"], Fixed(RATE), STEPS)
    task = at.task()
    with torch.no_grad():
        support, query = (
            NETWORK.features(at.params, inputs).numpy()
            for inputs in (task.support_inputs, task.query_inputs)
        )
    weight, bias = (at.params[f"head.{name}"].detach().numpy() for name in ("weight", "bias"))
    labels = np.eye(WAY)[task.support_targets.numpy()]
    for _ in range(STEPS):
        scores = np.exp(support @ weight.T + bias)
        error = (scores / scores.sum(1, keepdims=True) - labels) / len(labels)
        weight, bias = weight - RATE * error.T @ support, bias - RATE * error.sum(0)

    result = at.algorithm.run(at.how, at.params, at.meta, task)

    expected = query @ weight.T + bias
    np.testing.assert_allclose(result.outputs.detach().numpy(), expected, rtol=0, atol=1e-12)


def test_prototype_head_before_any_step_is_a_prototypical_network():
    """Logits 2 c f - |c|^2 differ from -|f - c|^2 by what all classes share."""
    proto_maml = problem(method(MAML(), head_init="prototypes"), Fixed(RATE), 0)
    protonet = replace(proto_maml, algorithm=ProtoNet())

    losses = [proto_maml.outer_loss(), protonet.outer_loss()]
    ours, theirs = (
        torch.autograd.grad(loss, list(at.params.values()), allow_unused=True)
        for loss, at in zip(losses, (proto_maml, protonet), strict=True)
    )

    torch.testing.assert_close(*losses, rtol=0, atol=1e-12)
    for name, left, right in zip(proto_maml.params, ours, theirs, strict=True):
        torch.testing.assert_close(left, right, rtol=0, atol=1e-12, msg=name)


def test_proto_maml_by_hand():
    """Its inner gradient is the partial one: it takes the prototypes for weights of their own."""
    at = problem(method(MAML(), head_init="prototypes", bn="batch"), Fixed(RATE), 2)
    task = at.task()
    with torch.no_grad():
        features = NETWORK.features(at.params, task.support_inputs)
        means = torch.stack([features[task.support_targets == k].mean(0) for k in range(WAY)])
    head = {"head.weight": 2 * means, "head.bias": -means.square().sum(1)}
    weights = {name: tensor.detach() for name, tensor in (at.params | head).items()}

    for training in (True, False):
        how = replace(at.how, training=training)
        result = at.algorithm.run(how, at.params, {}, task)
        expected = logits(descend(weights, task, 2), task.query_inputs)
        torch.testing.assert_close(result.outputs, expected, rtol=0, atol=1e-12)


def test_t_net_starts_as_maml():
    t_net = at_start("t-net", Fixed(RATE), torch.float64)
    start = TNet().init(NETWORK.param_infos(lambda role: True), torch.Generator())
    identity = {name: tensor.double().requires_grad_() for name, tensor in start.items()}
    maml = replace(t_net, algorithm=MAML())
    maml = replace(maml, params={n: t for n, t in t_net.params.items() if n not in identity})

    ours, theirs = (
        torch.autograd.grad(at.outer_loss(), list(maml.params.values()))
        for at in (replace(t_net, params=maml.params | identity), maml)
    )

    for name, left, right in zip(maml.params, ours, theirs, strict=True):
        torch.testing.assert_close(left, right, rtol=0, atol=1e-12, msg=name)


def test_t_net_passes_a_layer_after_each_layer():
    """The matrices as 1x1 convolutions and a linear layer, which no step changes."""
    at = problem(METHODS["t-net"], Fixed(RATE), 2)
    task = at.task()
    weights = {name: tensor.detach() for name, tensor in at.params.items()}

    result = at.algorithm.run(at.how, at.params, {}, task)

    adapted = descend(weights, task, 2, transformed_logits)
    expected = transformed_logits(adapted, task.query_inputs)
    torch.testing.assert_close(result.outputs, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("draw, kept", [(50.0, 1.0), (-50.0, 0.0)], ids=["all", "none"])
def test_masks_of_one_and_of_zero(draw, kept):
    """With all masks 1 MT-Net adapts as T-Net; with all 0 normalisation alone adapts."""
    at = problem(METHODS["mt-net"], LSLR(RATE), 2, noise=0.0)
    noise = {name: torch.full_like(value, draw) for name, value in at.tasks.noise.items()}
    masked = at.algorithm.run(
        at.how, at.params, at.meta, at.task()._replace(noise={n: v[0] for n, v in noise.items()})
    )
    rates = {
        name: rate if ".norm" in name or "/norm" in name else kept * rate
        for name, rate in at.meta.items()
    }

    t_net = TNet().run(at.how, at.params, rates, at.task())

    torch.testing.assert_close(masked.outputs, t_net.outputs, rtol=0, atol=1e-12)


def logits(weights: Params, inputs: Tensor) -> Tensor:
    return NETWORK.logits(weights, NETWORK.features(weights, inputs))


def transformed_logits(weights: Params, inputs: Tensor) -> Tensor:
    """The network written out, with its transformations as layers."""

    def layer(name: str, values: Tensor, *more: int) -> Tensor:
        pair = weights[f"{name}.weight"], weights[f"{name}.bias"]
        matrix = weights[f"transform/{name}"]
        if values.ndim == 2:
            return F.linear(F.linear(values, *pair), matrix)
        return F.conv2d(F.conv2d(values, *pair, *more), matrix[..., None, None])

    def norm(name: str, maps: Tensor) -> Tensor:
        pair = weights[f"{name}.weight"], weights[f"{name}.bias"]
        return F.batch_norm(maps, None, None, *pair, training=True)

    maps = norm("norm1", layer("conv1", inputs, 2)).tanh()
    maps = norm("norm2", layer("conv2", maps)).tanh()
    return layer("head", layer("hidden", maps.flatten(1)).tanh())


def descend(weights: Params, task, steps: int, network=logits) -> Params:
    """Gradient descent on the support loss, in plain autograd; transformations stay."""
    for _ in range(steps):
        leaves = {name: tensor.detach().requires_grad_() for name, tensor in weights.items()}
        names = [name for name in leaves if "/" not in name]
        loss = F.cross_entropy(network(leaves, task.support_inputs), task.support_targets)
        grads = torch.autograd.grad(loss, [leaves[name] for name in names])
        moved = {n: leaves[n] - RATE * g for n, g in zip(names, grads, strict=True)}
        weights = {name: tensor.detach() for name, tensor in (leaves | moved).items()}
    return weights
