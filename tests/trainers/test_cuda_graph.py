"""The recorded outer gradient: fed anew it is the plain one, and nothing in it waits for a device.

Without a GPU the recorder runs the function again in the recording's own memory, and the meta
device, whose tensors have no values, stands for the GPU.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from tests.trainers.stopping import StopAfter
from tests.trainers.test_every_pair import PAIRS
from trainers import catalog
from trainers import learner as learners
from trainers.checkpoint import load
from trainers.config import RunConfig, complete
from trainers.cuda_graph import CapturedOuterGradient, CudaGraphRecorder
from trainers.interrupt import Interrupted
from trainers.learner import Learner
from trainers.outer_gradient import OuterStep, outer_gradient
from trainers.outer_optimizer import OuterOptimizer
from trainers.outer_state import OuterState, named
from trainers.rates import Fixed
from trainers.rates.base import InnerStep, State, Update
from trainers.run import Run
from trainers.run_directory import RunDirectory, locked
from trainers.sources import open_source
from trainers.training import Training, adaptation_at
from trainers.types import Params, Task

NEEDS_CUDA = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="CUDA graphs need a GPU of NVIDIA's"
)
WAY, SIDE = 3, 16
GREY: Any = SimpleNamespace(
    input_shape=(1, SIDE, SIDE), is_regression=False, outputs=lambda way: way
)


class Rerun:
    """Runs a function again, its results put into the tensors that it gave first."""

    recorded = 0

    def record(self, function: Callable[[], Any]) -> Callable[[], Any]:
        Rerun.recorded += 1
        given = tree_map_only(Tensor, Tensor.contiguous, function())

        def replay() -> Any:
            for old, new in zip(tree_leaves(given), tree_leaves(function()), strict=True):
                if isinstance(old, Tensor):
                    old.copy_(new)
            return given

        return replay


class Refuses:
    tried = 0

    def record(self, function: Callable[[], Any]) -> Callable[[], Any]:
        Refuses.tried += 1
        raise RuntimeError("operation not permitted when stream is capturing\nmore of it")


def configured(algo: str, lr: str, **given: Any) -> RunConfig:
    sizes = {"way": WAY, "query": 2, "filters": 4, "meta_batch_size": 3, "task_batching": "batched"}
    if catalog.ALGORITHMS[algo].rates != ("none",):
        sizes["steps"] = 2
    given = {"algo": algo, "lr": lr, **sizes, **given}
    return complete(given, {"split": "quarters", "threads": 1})


def learner_of(config: RunConfig, new_recorder: Callable[[], Any] | None = None) -> Learner:
    captured = CapturedOuterGradient(new_recorder) if new_recorder else None
    return replace(learners.build(config, GREY), captured=captured)


def started(learner: Learner, dtype: torch.dtype = torch.float64) -> tuple[Params, Params]:
    """Initial tensors; float32 first, as the scheme draws them."""
    params, meta = (
        {name: t.detach().to(dtype).requires_grad_(t.requires_grad) for name, t in own.items()}
        for own in learner.initial(seed=3)
    )
    return params, meta


def drawn(learner: Learner, seed: int, shot: int = 1, dtype: torch.dtype = torch.float64) -> Task:
    """Three tasks and their noise, on the learner's device."""
    generator, count = torch.Generator().manual_seed(seed), 3

    def images(per_class: int) -> Tensor:
        shape = (count, WAY * per_class, 1, SIDE, SIDE)
        return torch.rand(shape, generator=generator, dtype=dtype).to(learner.device)

    def labels(per_class: int) -> Tensor:
        classes = torch.arange(WAY).repeat_interleave(per_class)
        return classes.repeat(count, 1).to(learner.device)

    infos = learner.training.backbone.param_infos(learner.algorithm.adapts)
    draws = [learner.algorithm.noise(infos, generator) for _ in range(count)]
    noise = {n: torch.stack([d[n] for d in draws]).to(learner.device, dtype) for n in draws[0]}
    return Task(images(shot), labels(shot), images(2), labels(2), noise)


def trained(
    config: RunConfig, learner: Learner, iterations: int, plain_from: int | None = None
) -> tuple[dict[str, Tensor], list[OuterStep]]:
    """Tensors and steps after iterations on 1 and 2 shots by turns, `plain_from` on unrecorded."""
    params, meta = started(learner)
    tensors = named(params, meta)
    optimizer = OuterOptimizer({n: t for n, t in tensors.items() if t.requires_grad}, config)
    steps = []
    for k in range(iterations):
        if k == plain_from:
            learner = replace(learner, captured=None)
        how, order = adaptation_at(config, learner.training, k), torch.arange(3).roll(k)
        tasks = drawn(learner, k, shot=1 + k % 2)
        steps.append(outer_gradient(learner, how, params, meta, tasks, order))
        optimizer.step(k)
    return tensors, steps


def assert_same(
    first: tuple[dict[str, Tensor], list[OuterStep]],
    second: tuple[dict[str, Tensor], list[OuterStep]],
) -> None:
    assert all(torch.equal(tensor, second[0][name]) for name, tensor in first[0].items())
    for one, other in zip(first[1], second[1], strict=True):
        torch.testing.assert_close(vars(one), vars(other), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(
    ("algo", "lr", "given", "plain_from", "recordings"),
    [
        # Order and weights of the query losses change after iterations 2 and 4, shapes always.
        ("maml", "alfa", {"epoch": 2, "first_order_epochs": 1, "multi_step_epochs": 2}, None, 6),
        ("mt-net", "hypergradient", {}, 4, 2),
        (
            "anil",
            "personalized",
            {"regularizer": "trlearner", "trlearner_relation": "shuffled"},
            None,
            2,
        ),
    ],
)
def test_training_on_recordings_is_the_plain_one(
    algo: str, lr: str, given: dict[str, Any], plain_from: int | None, recordings: int
) -> None:
    config = configured(algo, lr, outer_lr=0.01, **given)
    expected = trained(config, learner_of(config), iterations=6)
    assert len({step.loss for step in expected[1]}) == 6
    Rerun.recorded = 0
    assert_same(expected, trained(config, learner_of(config, Rerun), 6, plain_from))
    assert Rerun.recorded == recordings


def test_other_weights_are_recorded_apart() -> None:
    config = configured("maml", "fixed")
    learner, plain = learner_of(config, Rerun), learner_of(config)
    tasks = drawn(learner, 1)
    for scale in (1.0, 0.5):
        (params, meta), (same, _) = started(learner), started(learner)
        with torch.no_grad():
            for name in params:
                params[name] *= scale
                same[name] *= scale
        outer_gradient(learner, learner.training, params, meta, tasks)
        outer_gradient(plain, plain.training, same, meta, tasks)
        assert all(torch.equal(tensor.grad, same[name].grad) for name, tensor in params.items())


def test_a_recording_that_fails_is_told_once_and_changes_nothing() -> None:
    config, notes = configured("maml", "fixed"), list[str]()
    learner = learner_of(config, Refuses)
    learner.captured.note = notes.append
    Refuses.tried = 0
    assert_same(trained(config, learner_of(config), 3), trained(config, learner, 3))
    assert Refuses.tried == 1
    assert notes == [
        "no CUDA graph (operation not permitted when stream is capturing): "
        "going on without, slower and with the same numbers"
    ]


@pytest.mark.parametrize(
    ("device", "new_recorder"),
    [("cpu", Rerun), pytest.param("cuda", CudaGraphRecorder, marks=NEEDS_CUDA)],
)
def test_a_run_on_recordings_resumes_to_the_numbers_of_a_plain_one(
    device: str, new_recorder: Callable[[], Any], grey: Path, tmp_path: Path
) -> None:
    sizes = {"way": 5, "iterations": 4, "val_episodes": 2}
    config = configured("anil", "lslr", dataset=str(grey), device=device, **sizes)
    run = Run.over(open_source(str(grey)), config)

    def train(folder: str, captured: CapturedOuterGradient | None, stop: int | None) -> Path:
        (tmp_path / folder).mkdir(exist_ok=True)
        directory = RunDirectory(tmp_path / folder)
        learner = replace(run.learner, captured=captured)
        state = OuterState(config, learner)
        if directory.last_checkpoint.exists():
            state.load(directory.last_checkpoint, "")
        with locked(directory):
            Training(directory, state, learner, run.streams, StopAfter(stop)).train()
        return directory.last_checkpoint

    whole, _ = load(train("plain", None, None), "")
    with pytest.raises(Interrupted):
        train("recorded", CapturedOuterGradient(new_recorder), 2)
    resumed, _ = load(train("recorded", CapturedOuterGradient(new_recorder), None), "")
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in whole.items())
    first, second = ((tmp_path / name / "metrics.jsonl") for name in ("plain", "recorded"))
    assert first.read_text() == second.read_text()


@NEEDS_CUDA
@pytest.mark.parametrize("lr", ["fixed", "personalized"])
@pytest.mark.parametrize("algo", ["maml", "anil"])
def test_training_on_cuda_graphs_is_the_plain_one(algo: str, lr: str) -> None:
    config, notes = configured(algo, lr, device="cuda", outer="sgd", outer_lr=0.1), list[str]()
    learner = learners.build(config, GREY)
    assert learner.captured is not None
    learner.captured.note = notes.append
    tensors, steps = trained(config, learner, 6)
    plain_tensors, plain_steps = trained(config, replace(learner, captured=None), 6)
    assert not notes
    for name, tensor in tensors.items():
        torch.testing.assert_close(tensor, plain_tensors[name], rtol=0, atol=1e-10)
    losses, plain_losses = ([step.loss for step in each] for each in (steps, plain_steps))
    assert losses == pytest.approx(plain_losses, abs=1e-10) and len(set(losses)) == 6


@NEEDS_CUDA
def test_what_waits_for_the_gpu_is_not_recorded_and_training_goes_on() -> None:
    config, notes = configured("maml", "fixed", outer="sgd", outer_lr=0.1), list[str]()
    learner = replace(learner_of(config, CudaGraphRecorder), device="cuda")
    learner = replace(learner, training=replace(learner.training, scheme=Looking()))
    assert learner.captured is not None
    learner.captured.note = notes.append
    tensors, _ = trained(config, learner, 3)
    plain_tensors, _ = trained(config, replace(learner, captured=None), 3)
    assert len(notes) == 1 and "no CUDA graph" in notes[0]
    for name, tensor in tensors.items():
        torch.testing.assert_close(tensor, plain_tensors[name], rtol=0, atol=1e-10)


def test_it_is_used_on_cuda_with_batched_tasks() -> None:
    def is_used(**given: Any) -> bool:
        return learners.build(configured("maml", "fixed", **given), GREY).captured is not None

    assert is_used(device="cuda") and is_used(device="cuda", task_batching="auto")
    assert not is_used(device="cpu") and not is_used(device="cuda", cuda_graph="off")
    assert not is_used(device="cuda", task_batching="loop")
    assert not is_used(device="cuda", compile=True)


ATEN = torch.ops.aten
TAKES_NUMBERS = (ATEN.add.Tensor, ATEN.sub.Tensor, ATEN.mul.Tensor, ATEN.div.Tensor)
"""Their kernels are launched with a number of the host as an argument."""


class WithoutHost(TorchDispatchMode):
    """Refuses what a CUDA graph cannot hold: tensors that go from the host to the device, `meta`.

    The way back is refused by the device itself, for its tensors have no values.
    """

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = operation(*args, **(kwargs or {}))
        tensors = [t for t in tree_leaves((args, kwargs, result)) if isinstance(t, Tensor)]
        if operation in TAKES_NUMBERS:
            tensors = [t for t in tensors if t.dim()]
        places = {t.device.type for t in tensors if t.numel()}
        is_constant = operation is ATEN.lift_fresh.default and places == {"meta"}
        if is_constant or len(places) > 1:
            raise AssertionError(f"{operation} brings something from the host")
        return result


def differentiate_without_host(learner: Learner) -> None:
    learner = replace(learner, device="meta")
    params, meta = started(learner)
    tasks, order = drawn(learner, 1), torch.arange(3, device="meta")

    class Once:
        def record(self, function: Callable[[], Any]) -> Callable[[], Any]:
            with WithoutHost():
                found = function()
            raise Recorded(found)

    learner = replace(learner, captured=CapturedOuterGradient(Once))
    with pytest.raises(Recorded):
        outer_gradient(learner, learner.training, params, meta, tasks, order)


class Recorded(Exception):
    """What the recorder was to record went through."""


@pytest.mark.slow
@pytest.mark.parametrize(("algo", "lr"), PAIRS)
def test_every_pair_can_be_recorded(algo: str, lr: str) -> None:
    differentiate_without_host(learner_of(configured(algo, lr)))


@pytest.mark.parametrize(
    ("algo", "lr", "given"),
    [
        ("maml", "lstm", {"multi_step": True}),
        ("mt-net", "personalized", {"l2f": True}),
        ("proto-maml", "alfa", {"bn": "support"}),
        ("anil", "personalized", {"regularizer": "trlearner", "trlearner_relation": "shuffled"}),
        ("r2d2", "none", {}),
    ],
)
def test_these_can_be_recorded(algo: str, lr: str, given: dict[str, Any]) -> None:
    differentiate_without_host(learner_of(configured(algo, lr, **given)))


class Constant(Fixed):
    def step(self, meta: Params, at: InnerStep, state: State) -> Update:
        update = super().step(meta, at, state)
        return replace(update, rates=torch.tensor([0.1], device=at.loss.device))


class Looking(Fixed):
    def step(self, meta: Params, at: InnerStep, state: State) -> Update:
        torch.arange(2, device=at.loss.device).sum().item()
        return super().step(meta, at, state)


@pytest.mark.parametrize("scheme", [Constant(), Looking()])
def test_a_scheme_that_needs_the_host_is_found_out(scheme: Fixed) -> None:
    learner = learner_of(configured("maml", "fixed"))
    learner = replace(learner, training=replace(learner.training, scheme=scheme))
    with pytest.raises((AssertionError, RuntimeError), match="from the host|item"):
        differentiate_without_host(learner)
