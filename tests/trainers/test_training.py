"""The outer loop against the same loop written out with autograd and torch.optim."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import Result
from safetensors.torch import load_file

import episodes
from trainers import learner as learners
from trainers.config import complete
from trainers.outer_state import Position
from trainers.training import outer_gradient
from trainers.types import Params, Task, tasks_from_batch

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


@pytest.mark.parametrize("algo", ["maml", "fomaml", "anil"])
def test_the_outer_gradient_is_that_of_the_mean_query_loss(
    algo: str, random_task: Callable[..., Task]
) -> None:
    config = complete({**SHAPE, **SIZES, "algo": algo, "lr": "fixed", "inner_lr": 0.1}, MACHINE)
    learner = learners.build(config, (16, 16, 1))
    params, meta = learner.initial(seed=3, steps=3)
    tasks = [random_task(learner.backbone, seed, dtype=torch.float32) for seed in range(3)]
    results = [learner.train_on(task, params, meta, steps=3) for task in tasks]
    mean_loss = torch.stack([result.query_loss for result in results]).mean()
    expected = torch.autograd.grad(mean_loss, list(params.values()))

    step = outer_gradient(learner, params, meta, tasks, steps=3)
    assert step.loss == pytest.approx(mean_loss.item())
    for param, gradient in zip(params.values(), expected, strict=True):
        torch.testing.assert_close(param.grad, gradient, rtol=1e-4, atol=1e-6)
    correct = [
        (result.query_logits.argmax(1) == task.query_labels).float().mean().item()
        for result, task in zip(results, tasks, strict=True)
    ]
    assert step.accuracy == pytest.approx(sum(correct) / 3)
    assert step.rates == pytest.approx([0.1] * 3) and step.branches is None


@pytest.mark.parametrize("clip", [None, 1e-3])
def test_iteration_k_trains_on_the_meta_batch_k(
    train: Callable[..., Result], grey: Path, clip: float | None
) -> None:
    flags = ("--iterations", 3, "--steps", 3, "--outer-lr", 0.01, "--seed", 5)
    result = train(*flags, *(() if clip is None else ("--grad-clip", clip)), "--out", "run")
    assert result.exit_code == 0, result.output

    config = complete({**SHAPE, **SIZES, "seed": 5}, MACHINE)
    learner = learners.build(config, (16, 16, 1))
    params, meta = learner.initial(seed=5, steps=3)
    optimizer = torch.optim.Adam(params.values(), lr=0.01)
    stream = episodes.open(grey).stream("quarters.train", **SHAPE, seed=5)
    for k in range(3):
        optimizer.zero_grad()
        losses = [
            learner.train_on(tasks_from_batch(stream.batch(i, 1), "cpu")[0], params, meta, 3)
            for i in (2 * k, 2 * k + 1)
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
        kept.append(position.add_validation(accuracy, keep_top=3))
    assert position.best == [(0.9, 5), (0.7, 2), (0.7, 4)]
    assert kept == [True, True, True, True, True]
    position.iteration = 6
    assert not position.add_validation(0.7, keep_top=3)
    assert position.validated == 6


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
