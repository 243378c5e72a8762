"""Tasks adapted to at once give what they give one by one."""

from dataclasses import replace

import pytest
import torch

from tests.trainers.exactness.problems import (
    CONV4,
    METHODS,
    OPTIONS,
    OUTER_LOSS_OF_THEIR_OWN,
    SCHEMES,
    VARIANTS,
    WITHOUT_ADAPTATION,
    Problem,
    problem,
)
from trainers.algorithms.base import TaskResult, joined

TASKS = 3
UNLEARNED = ["fixed", "linear", "step", "cosine", "personalized, lr_max - k"]
ALL_METHODS, ALL_SCHEMES = METHODS | OPTIONS, SCHEMES | VARIANTS


def one_by_one(at: Problem) -> TaskResult:
    tasks = [at.task(index) for index in range(TASKS)]
    return joined([at.algorithm.run(at.how, at.params, at.meta, task) for task in tasks])


def at_once(at: Problem) -> TaskResult:
    how = replace(at.how, batched=True)
    return at.algorithm.run_batch(how, at.params, at.meta, at.tasks)


def assert_equal_results(batched: TaskResult, looped: TaskResult) -> None:
    for ours, theirs in zip(
        (*batched[:3], *batched.trace), (*looped[:3], *looped.trace), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10, equal_nan=True)


def assert_batched_equals_looped(at: Problem) -> None:
    """Results, outer gradients, and results of evaluation, to 1e-10."""
    leaves = list(at.leaves.values())
    batched, looped = at_once(at), one_by_one(at)

    assert_equal_results(batched, looped)
    gradients, expected = (
        torch.autograd.grad(
            result.outer_loss.mean(), leaves, allow_unused=True, materialize_grads=True
        )
        for result in (batched, looped)
    )
    assert max(gradient.abs().max() for gradient in expected) > 1e-4
    for name, ours, theirs in zip(at.leaves, gradients, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10, msg=name)

    tested = replace(at, how=replace(at.how, training=False))
    assert_equal_results(at_once(tested), one_by_one(tested))


@pytest.mark.parametrize("scheme", ALL_SCHEMES)
def test_scheme(scheme):
    assert_batched_equals_looped(problem(METHODS["maml"], ALL_SCHEMES[scheme], 2, tasks=TASKS))


@pytest.mark.parametrize("scheme", ["fixed", "alfa"])
@pytest.mark.parametrize("method", METHODS)
def test_method(method, scheme):
    assert_batched_equals_looped(problem(METHODS[method], SCHEMES[scheme], 2, tasks=TASKS))


@pytest.mark.parametrize("option", OPTIONS)
def test_option(option):
    assert_batched_equals_looped(problem(OPTIONS[option], SCHEMES["fixed"], 3, tasks=TASKS))


@pytest.mark.parametrize(
    "scheme", ["fixed", "linear", "step", "cosine", "personalized, lr_max - k"]
)
@pytest.mark.parametrize("method", OUTER_LOSS_OF_THEIR_OWN)
def test_outer_loss_of_its_own(method, scheme):
    chosen = problem(OUTER_LOSS_OF_THEIR_OWN[method], SCHEMES[scheme], 2, tasks=TASKS)
    assert_batched_equals_looped(chosen)


@pytest.mark.parametrize("method", WITHOUT_ADAPTATION)
def test_without_inner_loop(method):
    chosen = problem(WITHOUT_ADAPTATION[method], SCHEMES["fixed"], 0, tasks=TASKS)
    assert_batched_equals_looped(chosen)


@pytest.mark.parametrize("method", ["maml", "anil", "boil", "proto-maml", "mt-net"])
def test_conv4(method):
    """Scales of batch normalisation that differ by task are what torch once got wrong."""
    chosen = problem(METHODS[method], SCHEMES["lslr"], 2, backbone=CONV4, tasks=TASKS)
    assert_batched_equals_looped(chosen)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ALL_SCHEMES)
@pytest.mark.parametrize("method", ALL_METHODS)
def test_each_pair(method, scheme):
    assert_batched_equals_looped(problem(ALL_METHODS[method], ALL_SCHEMES[scheme], 3, tasks=TASKS))
