"""Runs on a user's file of tasks: their metric, and evaluations that do not fit."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from click.testing import Result
from torch import nn

from trainers.checkpoint import load
from trainers.config import Shape
from trainers.evaluation import Evaluation
from trainers.metrics import MSE
from trainers.report import metric_figures
from trainers.run_directory import find
from trainers.sources import open_source
from trainers.types import each_task, tasks_from_batch


def write_tasks(path: Path, inputs: int = 3, outputs: int = 1, tasks: int = 12) -> Path:
    random = np.random.default_rng(0)
    task = np.repeat(np.arange(tasks), 20)
    values = random.normal(size=(len(task), inputs))
    weights = random.normal(size=(tasks, inputs, outputs))
    split = np.where(task < tasks // 2, "train", np.where(task < 9, "val", "test"))
    targets = np.einsum("ni,nio->no", values, weights[task])
    np.savez(path, task=task, inputs=values, targets=targets, split=split)
    return path


@pytest.fixture
def run(command: Callable[..., Result], tmp_path: Path) -> Callable[..., Result]:
    tiny = ("--hidden", 8, "--shot", 5, "--query", 10, "--iterations", 3, "--episodes", 6)
    file = write_tasks(tmp_path / "assays.npz")
    return lambda *flags: command(
        *("run", "--dataset", file, "--threads", 1, *tiny, "--val-episodes", 3, *flags)
    )


def test_squared_correlation_is_reported_with_the_tasks_above(
    run: Callable[..., Result],
) -> None:
    result = run("--metric", "r2", "--out", "assays-run")
    assert result.exit_code == 0, result.output
    test = json.loads(Path("assays-run/results.json").read_text())["test"]
    assert test["metric"] == "r2" and 0 <= test["r2"] <= 1
    assert test["count_above"] == round(6 * test["share_above"])
    assert f"{test['count_above']} above 0.3) -> assays-run" in result.stdout
    lines = list(map(json.loads, Path("assays-run/metrics.jsonl").read_text().splitlines()))
    assert [line["r2"] for line in lines if "loss" in line and 0 <= line["r2"] <= 1]
    assert any("validation_r2" in line for line in lines)


def test_squared_correlation_is_numpys(command: Callable[..., Result], tmp_path: Path) -> None:
    file = write_tasks(tmp_path / "assays.npz", tasks=10)
    shape = ("--shot", 5, "--query", 15, "--hidden", 8, "--iterations", 0, "--eval-steps", 2)
    flags = ("--metric", "r2", "--episodes", 4, "--threads", 1, "--lr", "fixed", "--out", "run")
    assert command("run", "--dataset", file, *shape, *flags).exit_code == 0
    [batch] = open_source(str(file)).stream("tasks.test", Shape(None, 5, 15), 0).batches(4, 0, 4)
    weights, _ = load(find(Path("run")).last_checkpoint, "")
    names = ("hidden1.weight", "hidden1.bias", "head.weight", "head.bias")
    in_order = [weights[f"params/{name}"] for name in names]
    found = []
    for task in each_task(tasks_from_batch(batch, "cpu")):
        network = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1))
        with torch.no_grad():
            for parameter, weight in zip(network.parameters(), in_order, strict=True):
                parameter.copy_(weight)
        descent = torch.optim.SGD(network.parameters(), 0.01)
        for _ in range(2):
            descent.zero_grad()
            F.mse_loss(network(task.support_inputs), task.support_targets).backward()
            descent.step()
        predicted = network(task.query_inputs).detach()
        found.append(np.corrcoef(predicted.ravel(), task.query_targets.ravel())[0, 1] ** 2)
    test = json.loads(Path("run/results.json").read_text())["test"]
    assert test["r2"] == pytest.approx(np.mean(found), abs=1e-5)
    assert test["median"] == pytest.approx(np.median(found), abs=1e-5)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({"inputs": 2}, "trained on tasks of input_shape 3, other has input_shape 2"),
        ({"outputs": 2}, "trained on tasks of outputs 1, other has outputs 2"),
    ],
)
def test_tasks_of_another_shape_are_refused(
    run: Callable[..., Result], command: Callable[..., Result], shape: dict, message: str
) -> None:
    assert run("--out", "run").exit_code == 0
    other = write_tasks(Path("other.npz"), **shape)
    result = command("eval", "run", "--dataset", other)
    assert result.exit_code == 2 and message in result.stderr


def test_a_task_without_a_number_is_the_worst_of_the_median() -> None:
    figures = np.array([0.1, np.nan, 0.3, 0.2, np.inf])
    nothing = np.empty((5, 0))
    evaluation = Evaluation(figures, figures, nothing, nothing, nothing, nothing)
    found = metric_figures(MSE, evaluation)
    assert found["median"] == 0.3
    assert found["diverged"] == 2
