"""The outer loop against the same loop written out with autograd and torch.optim."""

import json
from collections.abc import Callable
from dataclasses import replace
from math import nan
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result
from safetensors.torch import load_file

import episodes
from episodes import EpisodeBatch
from trainers import learner as learners
from trainers.config import Settings, complete
from trainers.learner import Learner
from trainers.metrics import ACCURACY
from trainers.outer_state import Position
from trainers.settings import Value
from trainers.sources import Source, TaskStream, open_source
from trainers.training import adaptation_at, multi_step_weights, outer_gradient
from trainers.types import Params, Task, each_task, tasks_from_batch

MACHINE = {"split": "quarters", "threads": 1}
SHAPE = {"way": 5, "shot": 1, "query": 2}
SIZES = {"filters": 4, "meta_batch_size": 2, "steps": 3}


def weights(path: Path) -> Params:
    prefix = "params/"
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in load_file(path).items()
        if name.startswith(prefix)
    }


class Grey(Source):
    """A source of 16x16 grey images in name only."""

    dataset = name = digest = "grey"
    input_shape = (1, 16, 16)
    metric = ACCURACY

    def outputs(self, way: int | None) -> int:
        assert way is not None
        return way

    def stream(self, split: str, way: int | None, shot: int, query: int, seed: int) -> TaskStream:
        raise NotImplementedError

    def has(self, split: str) -> bool:
        return False


def build(**settings: Value) -> Learner:
    return learners.build(complete({**SHAPE, **SIZES, **settings}, MACHINE), Grey())


def stacked(tasks: list[Task]) -> Task:
    return Task(*(torch.stack(tensors) for tensors in zip(*(t[:4] for t in tasks), strict=True)))


@pytest.mark.parametrize("batching", ["loop", "batched"])
@pytest.mark.parametrize("algo", ["maml", "fomaml", "anil"])
def test_the_outer_gradient_is_that_of_the_mean_query_loss(
    algo: str, batching: str, random_task: Callable[..., Task]
) -> None:
    learner = build(algo=algo, lr="fixed", inner_lr=0.1, task_batching=batching)
    how = learner.training
    params, meta = learner.initial(seed=3)
    tasks = [random_task(how.backbone, seed, dtype=torch.float32) for seed in range(3)]
    alone = replace(how, batched=False)
    results = [learner.algorithm.run(alone, params, meta, task) for task in tasks]
    mean_loss = torch.stack([result.query_loss for result in results]).mean()
    expected = torch.autograd.grad(mean_loss, list(params.values()))

    step = outer_gradient(learner, how, params, meta, stacked(tasks))
    assert how.batched is (batching == "batched") and how.second_order is (algo != "fomaml")
    assert step.loss == pytest.approx(mean_loss.item())
    for param, gradient in zip(params.values(), expected, strict=True):
        torch.testing.assert_close(param.grad, gradient, rtol=1e-4, atol=1e-6)
    correct = [
        (result.outputs.argmax(1) == task.query_targets).float().mean().item()
        for result, task in zip(results, tasks, strict=True)
    ]
    assert step.figure == pytest.approx(sum(correct) / 3)
    assert step.rates == pytest.approx([0.1] * 3) and step.branches is None


@pytest.mark.parametrize("lr", ["lslr", "alfa"])
def test_the_outer_gradient_of_meta_parameters_is_theirs_too(
    lr: str, random_task: Callable[..., Task]
) -> None:
    learner = build(algo="maml", lr=lr, inner_lr=0.1, task_batching="loop")
    params, meta = learner.initial(seed=3)
    tasks = [random_task(learner.training.backbone, seed, dtype=torch.float32) for seed in range(2)]
    results = [learner.algorithm.run(learner.training, params, meta, task) for task in tasks]
    mean_loss = torch.stack([result.query_loss for result in results]).mean()
    expected = torch.autograd.grad(mean_loss, list(meta.values()))

    step = outer_gradient(learner, learner.training, params, meta, stacked(tasks))
    assert meta
    for tensor, gradient in zip(meta.values(), expected, strict=True):
        torch.testing.assert_close(tensor.grad, gradient, rtol=1e-4, atol=1e-6)
    rates = torch.stack([result.trace.rates for result in results])
    assert rates.shape == (2, 3, len(learner.adapted_names()))
    assert step.rates == pytest.approx(rates.mean((0, 2)).tolist())


def test_a_gradient_of_the_iteration_before_is_forgotten(
    random_task: Callable[..., Task],
) -> None:
    learner = build(algo="maml", lr="fixed")
    params, meta = learner.initial(seed=3)
    tasks = stacked([random_task(learner.training.backbone, dtype=torch.float32)])
    outer_gradient(learner, learner.training, params, meta, tasks)
    first = {name: param.grad for name, param in params.items()}
    outer_gradient(learner, learner.training, params, meta, tasks)
    assert all(torch.equal(first[name], param.grad) for name, param in params.items())


@pytest.mark.parametrize(
    "settings",
    [
        {"algo": "maml"},
        {"algo": "anil"},
        {"algo": "proto-maml"},
        {"algo": "mt-net"},
        {"algo": "r2d2", "steps": 0},
        {"algo": "maml", "lr": "alfa", "multi_step": True},
        {"algo": "maml", "bn": "per-step", "adapt_bn": False, "l2f": True, "lr": "lslr"},
    ],
    ids=str,
)
def test_three_iterations_of_batched_tasks_are_those_of_a_loop(
    settings: Settings, random_task: Callable[..., Task]
) -> None:
    trained = []
    for batching in ("batched", "loop"):
        config = complete({**SHAPE, **SIZES, **settings, "task_batching": batching}, MACHINE)
        learner = learners.build(config, Grey())
        how = adaptation_at(config, learner.training, 0)
        infos = how.backbone.param_infos(learner.algorithm.adapts)
        params, meta = (
            {name: t.detach().double().requires_grad_(t.requires_grad) for name, t in own.items()}
            for own in learner.initial(seed=3)
        )
        leaves = [t for t in (*params.values(), *meta.values()) if t.requires_grad]
        optimizer = torch.optim.SGD(leaves, lr=0.1)
        for k in range(3):
            tasks = stacked([random_task(how.backbone, 2 * k + i) for i in range(2)])
            draw = learner.algorithm.noise(infos, torch.Generator().manual_seed(k))
            noise = {name: torch.stack([tensor, -tensor]).double() for name, tensor in draw.items()}
            outer_gradient(learner, how, params, meta, tasks._replace(noise=noise))
            optimizer.step()
        trained.append(params | meta)
    start, _ = learner.initial(seed=3)
    for name, batched in trained[0].items():
        torch.testing.assert_close(batched, trained[1][name], rtol=0, atol=1e-9)
    assert any((trained[0][name] - start[name]).abs().max() > 1e-3 for name in start)


def test_batched_training_from_end_to_end(train: Callable[..., Result]) -> None:
    flags = ("--iterations", 3, "--lr", "lslr", "--algo", "maml", "--no-adapt-bn")
    # Adam blows up the rounding errors of gradients that are zero.
    outer = ("--outer", "sgd", "--outer-lr", 0.1)
    for batching in ("loop", "batched"):
        result = train(*flags, *outer, "--task-batching", batching, "--out", batching)
        assert result.exit_code == 0, result.output
    looped, batched = (
        load_file(f"{batching}/checkpoints/last.safetensors") for batching in ("loop", "batched")
    )
    assert looped.keys() == batched.keys()
    for name, tensor in looped.items():
        torch.testing.assert_close(batched[name], tensor, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("steps", "epoch", "other", "last"),
    [
        (5, 0, 0.2, 0.2),
        (5, 5, 2 / 15, 7 / 15),
        (5, 14, 0.2 / 15, 1 - 4 * 0.2 / 15),
        (2, 14, 0.5 / 15, 1 - 0.5 / 15),
    ],
)
def test_multi_step_weights_by_hand(steps: int, epoch: int, other: float, last: float) -> None:
    weights = multi_step_weights(epoch, 15, steps)
    assert weights == pytest.approx((other,) * (steps - 1) + (last,))
    assert sum(weights) == pytest.approx(1)


def test_multi_step_weights_have_bounds() -> None:
    # Of 100 epochs the last would leave .2 / 100 each, below the .03 / 5 of the authors' code.
    assert multi_step_weights(99, 100, 5) == pytest.approx((0.006,) * 4 + (0.976,))


def test_an_iteration_adapts_as_its_epoch_says() -> None:
    settings = {"algo": "maml", "epoch": 10, "first_order_epochs": 2, "multi_step_epochs": 3}
    config = complete({**SHAPE, **SIZES, **settings}, MACHINE)
    how = learners.build(config, Grey()).training
    found = {i: adaptation_at(config, how, i) for i in (0, 9, 10, 19, 20, 29, 30, 1000)}
    assert [i for i, at in found.items() if at.second_order] == [20, 29, 30, 1000]
    weights = {i: at.query_weights for i, at in found.items()}
    third, two_ninths, one_ninth = 1 / 3, 2 / 9, 1 / 9
    assert weights[0] == weights[9] == pytest.approx((third, third, third))
    assert weights[10] == weights[19] == pytest.approx((two_ninths, two_ninths, 5 / 9))
    assert weights[20] == weights[29] == pytest.approx((one_ninth, one_ninth, 7 / 9))
    assert weights[30] is None and weights[1000] is None


def test_the_multi_step_loss_of_the_whole_run_counts_all_steps_alike() -> None:
    config = complete({**SHAPE, **SIZES, "algo": "maml", "multi_step": True}, MACHINE)
    how = learners.build(config, Grey()).training
    assert adaptation_at(config, how, 10**6).query_weights == pytest.approx((1 / 3,) * 3)
    assert adaptation_at(config, how, 0).second_order


def test_initial_weights_are_those_of_the_seed_and_what_is_not_trained_is_constant() -> None:
    one, same, other = (build(algo="r2d2", steps=0).initial(seed)[0] for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["block1.conv.weight"], other["block1.conv.weight"])
    constant = {name for name, tensor in one.items() if not tensor.requires_grad}
    assert constant == {"head.weight", "head.bias"}
    random, _ = build(algo="maml", lr="alfa", random_init=True).initial(1)
    assert not any(tensor.requires_grad for tensor in random.values())


def test_per_step_norms_begin_alike() -> None:
    params, _ = build(algo="maml", bn="per-step", adapt_bn=False).initial(1)
    plain, _ = build(algo="maml", adapt_bn=False).initial(1)
    for name, tensor in plain.items():
        if ".norm." in name:
            assert torch.equal(params[name], torch.stack([tensor] * 3))
        else:
            assert torch.equal(params[name], tensor)


def test_noise_belongs_to_the_seed_and_the_task() -> None:
    learner = build(algo="mt-net")
    images = np.zeros((4, 5, 16, 16, 1), np.uint8)
    labels = np.zeros((4, 5), np.int64)

    def noise(first: int, seed: int) -> torch.Tensor:
        index = np.arange(first, first + 4)
        batch = EpisodeBatch(images, labels, images, labels, labels, index, labels)
        return learner.tasks(batch, seed).noise["block1.conv"]

    assert noise(0, 1).shape == (4, 4)
    assert torch.equal(noise(0, 1)[2:], noise(2, 1)[:2])
    assert not torch.equal(noise(0, 1)[0], noise(0, 1)[1])
    assert not torch.equal(noise(0, 1), noise(0, 100))


@pytest.mark.parametrize("clip", [None, 1e-3])
def test_iteration_k_trains_on_the_meta_batch_k(
    train: Callable[..., Result], grey: Path, clip: float | None
) -> None:
    flags = ("--iterations", 3, "--steps", 3, "--outer-lr", 0.01, "--seed", 5)
    result = train(*flags, *(() if clip is None else ("--grad-clip", clip)), "--out", "run")
    assert result.exit_code == 0, result.output

    config = complete({**SHAPE, **SIZES, "seed": 5}, MACHINE)
    learner = learners.build(config, open_source(str(grey)))
    params, meta = learner.initial(seed=5)
    optimizer = torch.optim.Adam(params.values(), lr=0.01)
    stream = episodes.open(grey).stream("quarters.train", **SHAPE, seed=5)
    for k in range(3):
        optimizer.zero_grad()
        losses = [
            learner.algorithm.run(learner.training, params, meta, task)
            for i in (2 * k, 2 * k + 1)
            for task in each_task(tasks_from_batch(stream.batch(i, 1), "cpu"))
        ]
        torch.stack([result.query_loss for result in losses]).mean().backward()
        if clip is not None:
            for param in params.values():
                param.grad.clamp_(-clip, clip)
        optimizer.step()
    trained = weights(Path("run/checkpoints/last.safetensors"))
    assert trained.keys() == params.keys()
    for name, param in params.items():
        if name.endswith("conv.bias"):  # Its gradient is zero but for noise, which Adam blows up.
            continue
        torch.testing.assert_close(trained[name], param.detach(), rtol=1e-4, atol=1e-5)


def test_metrics_and_checkpoints_follow_the_validations(train: Callable[..., Result]) -> None:
    result = train("--iterations", 5, "--validate-every", 2, "--keep-top", 2, "--out", "run")
    assert result.exit_code == 0, result.output
    records = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    validations = [record for record in records if "validation_accuracy" in record]
    assert [record["iteration"] for record in validations] == [2, 4, 5]
    assert [r["iteration"] for r in records if "loss" in r] == [1, 2, 3, 4, 5]
    assert all(len(r["rates"]) == len(r["branches"]) == 5 for r in records if "loss" in r)

    ranked = sorted(validations, key=lambda r: (-r["validation_accuracy"], r["iteration"]))
    kept = {f"iteration-{record['iteration']:07d}.safetensors" for record in ranked[:2]}
    found = {path.name for path in Path("run/checkpoints").iterdir()}
    assert found == kept | {"last.safetensors"}
    results = json.loads(Path("run/results.json").read_text())
    assert results["checkpoint"]["iteration"] == ranked[0]["iteration"]
    assert results["validation"]["accuracy"] == ranked[0]["validation_accuracy"]


def test_the_best_are_ranked_by_accuracy_then_by_age() -> None:
    position = Position()
    kept = []
    for iteration, accuracy in enumerate((0.5, 0.7, 0.5, 0.7, 0.9), start=1):
        position.iteration = iteration
        kept.append(position.add_validation(accuracy, 3, is_higher_better=True))
    assert position.best == [(0.9, 5), (0.7, 2), (0.7, 4)]
    assert kept == [True, True, True, True, True]
    position.iteration = 6
    assert not position.add_validation(0.7, 3, is_higher_better=True)
    assert position.validated == 6


def test_what_is_no_number_is_the_worst() -> None:
    position = Position()
    kept = []
    for iteration, figure in enumerate((nan, 0.5, nan, 0.1), start=1):
        position.iteration = iteration
        kept.append(position.add_validation(figure, 1, is_higher_better=True))
    assert position.best == [(0.5, 2)]
    assert kept == [True, True, False, False]


def test_of_errors_the_smallest_are_the_best() -> None:
    position = Position()
    for iteration, error in enumerate((0.5, 0.3, 0.5, 0.9, 0.3), start=1):
        position.iteration = iteration
        position.add_validation(error, 3, is_higher_better=False)
    assert position.best == [(0.3, 2), (0.3, 5), (0.5, 1)]


def test_a_loss_that_is_not_finite_stops_the_run(train: Callable[..., Result]) -> None:
    flags = ("--algo", "maml", "--lr", "fixed", "--inner-lr", 1e30, "--iterations", 5)
    result = train(*flags, "--out", "run")
    assert result.exit_code == 1
    [line] = [line for line in result.stderr.splitlines() if line.startswith("error:")]
    assert "iteration 1: the loss is" in line and "1e+30, 1e+30" in line
    assert "run/checkpoints/last.safetensors is the last finite checkpoint" in line
    kept = weights(Path("run/checkpoints/last.safetensors"))
    assert kept and all(tensor.isfinite().all() for tensor in kept.values())
    assert not Path("run/results.json").exists()
