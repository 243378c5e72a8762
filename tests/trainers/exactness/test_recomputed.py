"""Graphs that are made again step by step give the gradients of graphs that are kept."""

from dataclasses import replace

import pytest
import torch

from tests.trainers.exactness.problems import (
    CONV4,
    METHODS,
    OPTIONS,
    SCHEMES,
    VARIANTS,
    Problem,
    problem,
)
from trainers.algorithms.base import TaskResult
from trainers.rates.lstm import MetaLSTM
from trainers.types import Params

ALL_SCHEMES = SCHEMES | VARIANTS
RECOMPUTING = {
    name: method
    for name, method in (METHODS | OPTIONS).items()
    if method.how.get("second_order", True) and not name.startswith("anil")
}


def gradients(at: Problem, **changes: bool) -> tuple[Params, TaskResult]:
    how = replace(at.how, **changes)
    result = at.algorithm.run(how, at.params, at.meta, at.task())
    leaves = list(at.leaves.values())
    found = torch.autograd.grad(
        result.outer_loss, leaves, allow_unused=True, materialize_grads=True
    )
    return dict(zip(at.leaves, found, strict=True)), result


def differ(ours: Params, theirs: Params) -> float:
    return max((ours[name] - gradient).abs().max().item() for name, gradient in theirs.items())


def assert_recomputed_equals_stored(at: Problem) -> None:
    """The results, and the outer gradient, to 1e-12 and unlike that of first order."""
    stored, expected = gradients(at)
    recomputed, result = gradients(at, recomputed=True)
    first_order, _ = gradients(at, second_order=False)

    assert type(result.query_loss.grad_fn).__name__ == "_RecomputedBackward"
    for ours, theirs in zip(
        (*result[:3], *result.trace), (*expected[:3], *expected.trace), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-14, equal_nan=True)
    assert not any(tensor.requires_grad for tensor in result.trace)
    assert differ(recomputed, stored) < 1e-12
    if not isinstance(getattr(at.how.scheme, "scheme", at.how.scheme), MetaLSTM):
        assert differ(first_order, recomputed) > 1e-5  # An LSTM takes gradients for constants.


@pytest.mark.parametrize("scheme", ALL_SCHEMES)
def test_scheme(scheme: str) -> None:
    assert_recomputed_equals_stored(problem(METHODS["maml"], ALL_SCHEMES[scheme], 3))


@pytest.mark.parametrize("scheme", ["fixed", "l2f of alfa"])
@pytest.mark.parametrize("method", RECOMPUTING)
def test_method_and_option(method: str, scheme: str) -> None:
    assert_recomputed_equals_stored(problem(RECOMPUTING[method], ALL_SCHEMES[scheme], 3))


@pytest.mark.parametrize("method", ["maml", "boil", "proto-maml", "mt-net", "multi-step"])
def test_conv4(method: str) -> None:
    at = problem(RECOMPUTING[method], SCHEMES["lslr"], 3, backbone=CONV4)
    assert_recomputed_equals_stored(at)


@pytest.mark.parametrize("method", ["fomaml", "anil", "anil, multi-step"])
def test_where_it_has_no_use_nothing_changes(method: str) -> None:
    at = problem((METHODS | OPTIONS)[method], SCHEMES["lslr"], 3)
    stored, _ = gradients(at)
    recomputed, result = gradients(at, recomputed=True)
    assert differ(recomputed, stored) == 0
    assert type(result.query_loss.grad_fn).__name__ != "_RecomputedBackward"


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ALL_SCHEMES)
@pytest.mark.parametrize("method", RECOMPUTING)
def test_each_pair(method: str, scheme: str) -> None:
    assert_recomputed_equals_stored(problem(RECOMPUTING[method], ALL_SCHEMES[scheme], 3))
