"""Training on what a sampler chooses: the look-ahead's gradients, what it is told, and resuming."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import Result

from episodes.sampling.adaptive import Adaptive
from episodes.sampling.sampler import Proposal, Sampler, Selection
from tests.trainers.stopping import StopAfter
from trainers import config, samplers
from trainers.checkpoint import load
from trainers.config import RunConfig, Settings
from trainers.group import Group
from trainers.interrupt import Interrupted
from trainers.look_ahead import LookAhead
from trainers.measures import gradients_before, measure
from trainers.outer_gradient import MetaBatch
from trainers.outer_state import OuterState
from trainers.run import Run
from trainers.run_directory import RunDirectory, locked
from trainers.sources import Source, open_source
from trainers.training import Training
from trainers.types import Params, Task, each_task

FAMILY: Settings = {"dataset": "sinusoid", "iterations": 4, "meta_batch_size": 3, "val_episodes": 1}


@pytest.fixture(scope="module")
def source(grey: Path) -> Source:
    return open_source(str(grey))


def settings(**given: Any) -> RunConfig:
    tiny: Settings = {
        "algo": "anil",
        "filters": 4,
        "query": 2,
        "way": 3,
        "meta_batch_size": 4,
        "iterations": 6,
        "val_episodes": 1,
        "steps": 2,
    }
    return config.complete(tiny | given, {"split": "quarters", "threads": 1})


def train(
    source: Source, chosen: RunConfig, path: Path, stop: int | None = None
) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    run = Run.over(source, chosen)
    path.mkdir(exist_ok=True)
    directory, sampling = RunDirectory(path), run.sampling
    state = OuterState(chosen, run.learner, sampling.sampler if sampling else None)
    if directory.last_checkpoint.exists():
        state.load(directory.last_checkpoint, "")
    with locked(directory):
        Training(directory, state, run.learner, run.streams, StopAfter(stop), sampling).train()
    tensors, _ = load(directory.last_checkpoint, "")
    records = [json.loads(line) for line in directory.metrics.open()]
    return tensors, [record for record in records if "rates" in record]


@pytest.mark.parametrize("task_batching", ["loop", "batched"])
@pytest.mark.parametrize("algo", ["anil", "maml"])
def test_uniform_weights_train_as_the_uniform_sampler_bit_for_bit(
    algo: str, task_batching: str, source: Source, tmp_path: Path
) -> None:
    chosen = settings(algo=algo, task_batching=task_batching)
    plain, expected = train(source, chosen, tmp_path / "uniform")
    adaptive = settings(algo=algo, task_batching=task_batching, sampler="adaptive", sampler_lr=0.0)
    found, records = train(source, adaptive, tmp_path / "adaptive")
    assert all(torch.equal(tensor, found[name]) for name, tensor in plain.items())
    assert [r["loss"] for r in records] == [r["loss"] for r in expected]
    assert records[0]["task_weights"] == [1.0] * 4


def test_learned_weights_leave_uniform_and_keep_their_mean(source: Source, tmp_path: Path) -> None:
    _, records = train(source, settings(sampler="adaptive", sampler_lr=0.1), tmp_path / "run")
    weights = np.array([record["task_weights"] for record in records])
    assert weights.mean(1) == pytest.approx(np.ones(6))
    assert weights[-1].std() > 1e-4
    assert {"task_diversity", "task_entropy", "task_difficulty"} <= records[0].keys()


EVERY: list[Mapping[str, Any]] = [
    {"sampler": "adaptive", "regularizer": "trlearner", "lr": "personalized", "sampler_lr": 0.05},
    {"sampler": "adaptive", "sampler_mode": "sampling", "algo": "maml", "sampler_lr": 0.05},
    {"sampler": "adaptive", "sampler_criteria": "trl4", "sampler_lr": 0.05},
    {"sampler": "adaptive", "algo": "protonet", "lr": "none", "steps": 0, "eval_steps": 0},
    {"regularizer": "trlearner", "trlearner_relation": "shuffled", "algo": "fomaml"},
    {"sampler": "ndt"},
    {"sampler": "ndb"},
    {"sampler": "ndtb"},
    {"sampler": "fixed-pool", "meta_batch_size": 1},
    {"sampler": "single-batch", "meta_batch_size": 1},
    {"sampler": "ohtm"},
    {"sampler": "owhtm"},
    {"sampler": "d-dpp"},
]


@pytest.mark.parametrize("given", EVERY, ids=lambda g: "-".join(map(str, g.values())))
def test_every_sampler_trains_and_goes_on_after_a_stop(
    given: Mapping[str, Any], source: Source, tmp_path: Path
) -> None:
    chosen = settings(**given)
    whole, records = train(source, chosen, tmp_path / "whole")
    assert len(records) == 6
    with pytest.raises(Interrupted):
        train(source, chosen, tmp_path / "stopped", stop=3)
    resumed, again = train(source, chosen, tmp_path / "stopped")
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in whole.items())
    assert again == records


@pytest.mark.parametrize(
    "given",
    [
        {"sampler": "adaptive", "regularizer": "trlearner"},
        {"sampler": "adaptive", "sampler_mode": "sampling"},
        {"sampler": "ohtm"},
        {"sampler": "ndt"},
    ],
    ids=lambda g: "-".join(g.values()),
)
def test_functions_are_sampled_as_classes_are(given: Settings, tmp_path: Path) -> None:
    chosen = config.complete(FAMILY | given, {"split": "tasks", "threads": 1})
    _, records = train(open_source("sinusoid"), chosen, tmp_path / "run")
    assert len(records) == 4
    if "adaptive" in given.values():
        assert "task_entropy" not in records[0]
    if "regularizer" in given:
        assert records[0]["relation_deviation"] > 0.01  # Labelled features tell functions apart.


def test_features_of_a_trained_run_choose_classes(
    source: Source, grey: Path, tmp_path: Path, command: Any
) -> None:
    tiny = ("--filters", 4, "--threads", 1, "--iterations", 2, "--episodes", 2, "--way", 3)
    made = command("run", "--dataset", grey, *tiny, "--query", 2, "--out", tmp_path / "proto")
    assert made.exit_code == 0, made.output
    chosen = settings(sampler="s-dpp", dpp_run=str(tmp_path / "proto"))
    tensors, _ = train(source, chosen, tmp_path / "run")
    assert tensors["sampler/class_features"].shape == (12, 4)


def test_a_run_of_features_that_is_not_there_is_told_of_before_anything_is_written(
    train: Callable[..., Result],
) -> None:
    result = train("--sampler", "s-dpp", "--dpp-run", "nowhere", "--out", "run")
    assert result.exit_code == 2 and "nowhere: no such directory; expected a run" in result.stderr
    assert not Path("run").exists()


def doubled(tensors: Params) -> Params:
    return {
        name: t.detach().double().requires_grad_(t.requires_grad) for name, t in tensors.items()
    }


def problem(source: Source, **given: Any) -> tuple[Run, Params, Params, Task, Task]:
    run = Run.over(source, settings(**given))
    params, meta = run.learner.initial(1)
    training = run.streams.training
    batches = (run.learner.tasks(training.batch(start, 4), 1) for start in (0, 100))
    tasks, fresh = (
        task._replace(
            support_inputs=task.support_inputs.double(), query_inputs=task.query_inputs.double()
        )
        for task in batches
    )
    return run, doubled(params), doubled(meta), tasks, fresh


@pytest.mark.parametrize("task_batching", ["loop", "batched"])
def test_weight_gradients_equal_finite_differences(task_batching: str, source: Source) -> None:
    run, params, meta, tasks, fresh = problem(source, lr="lslr", task_batching=task_batching)
    learner, rate = run.learner, 0.05
    batch = MetaBatch(learner, learner.training, params, meta, tasks)
    batch.adapt()
    probabilities = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    ahead = LookAhead(learner, learner.training, params, meta, fresh, rate, Group())
    found = ahead.weight_gradients(batch.task_gradients(), probabilities)

    def loss(chances: torch.Tensor) -> float:
        MetaBatch(learner, learner.training, params, meta, tasks).gradient(4 * chances)
        return ahead.validation_loss().item()

    step = 1e-4 * torch.eye(4, dtype=torch.float64)
    expected = [(loss(probabilities + s) - loss(probabilities - s)) / 2e-4 for s in step]
    assert found.tolist() == pytest.approx(expected, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("regularizer", ["none", "trlearner"])
def test_recomputed_graphs_give_the_sampler_the_same(regularizer: str, source: Source) -> None:
    """Each task's gradient, and the weighted one of a meta-batch whose graphs are all held."""
    probabilities = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    found = []
    for graph in ("stored", "recomputed"):
        chosen = {"algo": "maml", "lr": "lslr", "bn": "support", "regularizer": regularizer}
        run, params, meta, tasks, fresh = problem(source, **chosen, inner_graph=graph)
        learner = run.learner
        assert learner.training.recomputed is (graph == "recomputed")
        batch = MetaBatch(learner, learner.training, params, meta, tasks)
        batch.adapt()
        ahead = LookAhead(learner, learner.training, params, meta, fresh, 0.05, Group())
        slopes = ahead.weight_gradients(batch.task_gradients(), probabilities)
        batch.gradient(4 * probabilities)
        tensors = [t.grad for t in (*params.values(), *meta.values()) if t.grad is not None]
        found.append([slopes, *tensors])
    for stored, recomputed in zip(*found, strict=True):
        torch.testing.assert_close(recomputed, stored, rtol=0, atol=1e-12)


class Recorder(Sampler):
    """Chooses the second and the first of three tasks, and keeps what it is told."""

    name = "recorder"
    measures = frozenset({"features", "labels", "gradient_norms", "gradient_cosines"})

    def propose(self, batch: int) -> Proposal:
        return Proposal(self.space.identities(3 * batch, 3), 3 * batch)

    def select(self, measured: Any) -> Selection:
        self.measured = measured
        return Selection.of(np.array([1, 0]))

    def feedback(self, arrays: Any) -> None:
        self.told = arrays


def test_a_sampler_is_told_of_the_tasks_that_it_chose(source: Source) -> None:
    run = Run.over(source, settings(meta_batch_size=2))
    training: Any = run.streams.training
    recorder = Recorder(training, 2, 1)
    params, meta = run.learner.initial(1)
    chosen = samplers.TaskSampling(recorder, training, run.learner, 1, lambda weights: np.ones(1))
    step = chosen.outer_gradient(run.learner.training, params, meta, 2, 0.1)
    assert recorder.measured["features"].shape == (3, 3, 4)
    assert recorder.measured["labels"].tolist() == [[0, 1, 2]] * 3
    losses = []
    for index in (7, 6):
        tasks = run.learner.tasks(training.batch(index, 1), 1)
        result = run.learner.algorithm.run(run.learner.training, params, meta, each_task(tasks)[0])
        losses.append(result.query_loss.item())
    assert recorder.told["losses"].tolist() == pytest.approx(losses)
    assert recorder.told["accuracies"].mean() == step.figure
    assert step.loss == pytest.approx(np.mean(losses))


def test_gradients_before_adaptation_are_those_of_the_initial_weights(source: Source) -> None:
    run, params, meta, tasks, _ = problem(source, algo="maml")
    norms, cosines = gradients_before(run.learner, params, meta, tasks)
    backbone, loss = run.learner.training.backbone, run.learner.training.loss
    for i, task in enumerate(each_task(tasks)):
        both = []
        sets = (
            (task.support_inputs, task.support_targets),
            (task.query_inputs, task.query_targets),
        )
        for inputs, targets in sets:
            value = loss(backbone.logits(params, backbone.features(params, inputs)), targets)
            gradient = torch.autograd.grad(value, list(params.values()), allow_unused=True)
            both.append(torch.cat([g.flatten() for g in gradient if g is not None]))
        assert norms[i].item() == pytest.approx(both[0].square().sum().item(), rel=1e-12)
        cosine = (both[0] @ both[1]) / (both[0].norm() * both[1].norm())
        assert cosines[i].item() == pytest.approx(cosine.item(), rel=1e-9)


def test_a_linear_model_s_difficulty_by_hand() -> None:
    """theta x with x = (1, 2), y = (1, 1), theta = 0: the gradient is -3, its square 9."""
    from torch.nn.functional import mse_loss

    from trainers.algorithms import MAML, Adaptation
    from trainers.backbones import MLP
    from trainers.learner import Learner
    from trainers.metrics import MSE
    from trainers.rates import Fixed

    how = Adaptation(MLP(1, 1, ()), Fixed(0.1), mse_loss, way=1, steps=1, training=True)
    learner = Learner(MAML(), how, how, MSE, "cpu")
    params = {
        "head.weight": torch.zeros(1, 1, requires_grad=True),
        "head.bias": torch.zeros(1),
    }
    inputs, targets = torch.tensor([[[1.0], [2.0]]]), torch.ones(1, 2, 1)
    tasks = Task(inputs, targets, inputs, targets)
    found = measure({"gradient_norms"}, learner, params, {}, tasks, Group())
    assert found["gradient_norms"].tolist() == [9.0]


def test_the_network_learns_from_the_look_ahead_of_a_real_run(source: Source) -> None:
    run = Run.over(source, settings(sampler="adaptive", sampler_lr=0.05))
    assert run.sampling is not None and isinstance(run.sampling.sampler, Adaptive)
    before = {name: array.copy() for name, array in run.sampling.sampler.state().items()}
    params, meta = run.learner.initial(1)
    run.sampling.outer_gradient(run.learner.training, params, meta, 0, 0.01)
    after = run.sampling.sampler.state()
    moved = [name for name, array in before.items() if not np.array_equal(array, after[name])]
    assert moved
