"""Evaluation adapts as training does, without a graph, and keeps nothing."""

import gc
import resource
import sys
from dataclasses import replace

import pytest
import torch

from tests.trainers.exactness.problems import (
    CONV4,
    METHODS,
    OPTIONS,
    OUTER_LOSS_OF_THEIR_OWN,
    SCHEMES,
    WITHOUT_ADAPTATION,
    Problem,
    problem,
)
from trainers.evaluation import evaluate
from trainers.metrics import ACCURACY

# In training, running moments are gathered and not used.
ALIKE = METHODS | {name: how for name, how in OPTIONS.items() if name != "running moments"}


def in_evaluation(at: Problem, batched: bool = False) -> Problem:
    return replace(at, how=replace(at.how, training=False, batched=batched))


def tensors_alive() -> int:
    gc.collect()
    return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())


@pytest.mark.parametrize("scheme", ["fixed", "alfa", "l2f"])
@pytest.mark.parametrize("method", ALIKE)
def test_gives_what_training_gives(method, scheme):
    at = problem(ALIKE[method], SCHEMES[scheme], 3)

    trained, tested = (
        which.algorithm.run(which.how, which.params, which.meta, which.task())
        for which in (at, in_evaluation(at))
    )

    torch.testing.assert_close(tested.outputs, trained.outputs, rtol=0, atol=1e-12)
    torch.testing.assert_close(tested.outer_loss, trained.outer_loss, rtol=0, atol=1e-12)


@pytest.mark.parametrize("batched", [False, True], ids=["looped", "batched"])
@pytest.mark.parametrize("method", METHODS | OPTIONS | OUTER_LOSS_OF_THEIR_OWN)
def test_has_no_graph(method, batched):
    chosen = (METHODS | OPTIONS | OUTER_LOSS_OF_THEIR_OWN)[method]
    at = in_evaluation(problem(chosen, SCHEMES["fixed"], 3, tasks=2), batched)
    run, task = (at.algorithm.run_batch, at.tasks) if batched else (at.algorithm.run, at.task())

    result = run(at.how, at.params, at.meta, task)

    for tensor in (*result[:3], *result.trace):
        assert not tensor.requires_grad


@pytest.mark.parametrize("scheme", SCHEMES)
def test_has_no_graph_whatever_the_scheme(scheme):
    at = in_evaluation(problem(METHODS["maml"], SCHEMES[scheme], 3))

    result = at.algorithm.run(at.how, at.params, at.meta, at.task())

    for tensor in (*result[:3], *result.trace):
        assert not tensor.requires_grad


@pytest.mark.parametrize("scheme", ["fixed", "pamela", "lstm", "l2f"])
def test_no_tensor_outlives_it(scheme):
    at = in_evaluation(problem(METHODS["maml"], SCHEMES[scheme], 3))
    task = at.task()
    at.algorithm.run(at.how, at.params, at.meta, task)
    before = tensors_alive()

    for _ in range(3):
        at.algorithm.run(at.how, at.params, at.meta, task)

    assert tensors_alive() == before


@pytest.mark.slow
@pytest.mark.parametrize("batched", [False, True], ids=["looped", "batched"])
@pytest.mark.parametrize("method", ["maml", "anil", "mt-net", "imaml", "r2d2"])
def test_a_thousand_leave_memory_flat(method, batched):
    chosen = (METHODS | OUTER_LOSS_OF_THEIR_OWN | WITHOUT_ADAPTATION)[method]
    steps = 0 if method in WITHOUT_ADAPTATION else 5
    at = problem(chosen, SCHEMES["fixed"], steps, backbone=CONV4, tasks=10)
    at = in_evaluation(at, batched)

    def evaluations(count: int) -> None:
        batches = (at.tasks for _ in range(count // 10))
        evaluate(at.algorithm, at.how, at.params, at.meta, batches, ACCURACY)

    evaluations(300)
    alive, peak = tensors_alive(), peak_mebibytes()
    evaluations(1000)

    # The graph of one evaluation takes hundreds of kilobytes.
    assert peak_mebibytes() - peak < 8
    assert tensors_alive() == alive


def peak_mebibytes() -> float:
    """The most memory that this process has held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
