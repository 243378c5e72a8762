"""Outer gradients of initial weights and meta-parameters against central differences."""

import pytest
import torch
from torch import Tensor

from tests.trainers.exactness.frozen import Surrogate
from tests.trainers.exactness.problems import (
    CONV4,
    METHODS,
    OPTIONS,
    SCHEMES,
    VARIANTS,
    WITHOUT_ADAPTATION,
    Problem,
    problem,
)
from trainers.types import Params

STEP = 2e-5
ALL_SCHEMES = SCHEMES | VARIANTS
FREEZING = [
    ("fomaml", "fixed"),
    ("fomaml", "lslr"),
    ("maml", "personalized, lr_max - k"),
    ("maml", "alfa"),
    ("maml", "lstm"),
    ("maml", "l2f"),
    ("mt-net", "fixed"),
]


def outer_gradient(at: Problem) -> Params:
    grads = torch.autograd.grad(
        at.outer_loss(), list(at.leaves.values()), allow_unused=True, materialize_grads=True
    )
    return dict(zip(at.leaves, grads, strict=True))


def moved_together(names: list[str], each_tensor: bool) -> list[list[str]]:
    """Groups of names: those of a kind of tensor, unless each is alone."""
    found: dict[str, list[str]] = {}
    for name in names:
        kind = name.rpartition("/")[0] or name.partition(".")[2]
        found.setdefault(name if each_tensor else kind, []).append(name)
    return list(found.values())


def derivatives_and_slopes(
    at: Problem, surrogate: Surrogate, each_tensor: bool = False, step: float = STEP
) -> dict[str, tuple[float, float]]:
    """The gradient times a random direction of each group, and the surrogate's slope along it.

    The slope is the central difference of fourth order.
    """
    generator = torch.Generator().manual_seed(5)
    gradient, leaves = outer_gradient(at), at.leaves
    found = {}
    for names in moved_together(list(leaves), each_tensor):
        directions = {
            name: torch.randn(leaves[name].shape, generator=generator, dtype=torch.float64)
            for name in names
        }

        def moved(length: float, directions: dict[str, Tensor] = directions) -> float:
            there = {
                name: (leaves[name] + length * direction).detach().requires_grad_()
                for name, direction in directions.items()
            }
            return surrogate({**leaves, **there})

        near, far = (moved(k * step) - moved(-k * step) for k in (1, 2))
        derivative = sum((gradient[name] * directions[name]).sum().item() for name in names)
        found[", ".join(names)] = derivative, (8 * near - far) / (12 * step)
    return found


def assert_outer_gradient(at: Problem, each_tensor: bool = False) -> None:
    surrogate = Surrogate(at)
    assert surrogate.value == pytest.approx(at.outer_loss().item(), rel=1e-12)
    for names, (derivative, slope) in derivatives_and_slopes(at, surrogate, each_tensor).items():
        assert derivative == pytest.approx(slope, rel=1e-7, abs=1e-9), names


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("method", METHODS)
def test_method_and_scheme(method, scheme):
    assert_outer_gradient(problem(METHODS[method], SCHEMES[scheme], 2))


@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_number_of_steps(scheme, steps):
    assert_outer_gradient(problem(METHODS["maml"], SCHEMES[scheme], steps))


@pytest.mark.parametrize("scheme", VARIANTS)
def test_variant(scheme):
    assert_outer_gradient(problem(METHODS["maml"], VARIANTS[scheme], 3))


@pytest.mark.parametrize("option", OPTIONS)
def test_option(option):
    assert_outer_gradient(problem(OPTIONS[option], SCHEMES["lslr"], 3))


@pytest.mark.parametrize("method", WITHOUT_ADAPTATION)
def test_without_inner_loop(method):
    assert_outer_gradient(problem(WITHOUT_ADAPTATION[method], SCHEMES["fixed"], 0))


@pytest.mark.parametrize("method", ["maml", "anil", "boil", "proto-maml", "mt-net"])
def test_conv4(method):
    """Only near the point: the outer loss jumps where an inner gradient crosses a kink of ReLU."""
    at = problem(METHODS[method], SCHEMES["lslr"], 2, backbone=CONV4)

    for names, pair in derivatives_and_slopes(at, Surrogate(at), step=1e-8).items():
        assert pair[0] == pytest.approx(pair[1], rel=1e-4, abs=1e-5), names


@pytest.mark.slow
@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("scheme", ALL_SCHEMES)
@pytest.mark.parametrize("method", METHODS)
def test_each_pair(method, scheme, steps):
    at = problem(METHODS[method], ALL_SCHEMES[scheme], steps)
    assert_outer_gradient(at, each_tensor=steps == 2)


@pytest.mark.parametrize("method, scheme", FREEZING)
def test_frozen_terms_matter(method, scheme):
    """The documented gradient is not the slope of the outer loss in which nothing is frozen."""
    at = problem(METHODS[method], SCHEMES[scheme], 2)

    compared = derivatives_and_slopes(at, Surrogate(at, freezes=False))

    assert any(abs(derivative - slope) > 1e-6 for derivative, slope in compared.values())


@pytest.mark.parametrize("scheme", ALL_SCHEMES)
def test_every_tensor_has_a_gradient(scheme):
    """But the biases that batch normalisation subtracts, and what moves them alone."""
    gradient = outer_gradient(problem(METHODS["maml"], ALL_SCHEMES[scheme], 3))

    subtracted = {name for name in gradient if name.endswith(("conv1.bias", "conv2.bias"))}
    if "alfa" in scheme:  # Its generator may see their means.
        gradient = {name: grad for name, grad in gradient.items() if name not in subtracted}
        subtracted = set()
    assert {name for name, grad in gradient.items() if grad.abs().max() < 1e-12} == subtracted
