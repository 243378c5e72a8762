"""A function's graph made again when its gradient is asked for, and the memory of that."""

import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from episodes.errors import UsageError
from tests.trainers.stopping import StopAfter
from trainers import learner as learners
from trainers import lifecycle, machine, memory
from trainers.config import Settings, complete
from trainers.group import Group
from trainers.interrupt import Interrupted
from trainers.memory import Size, task_bytes
from trainers.recomputed import recomputed, stored
from trainers.run import Run
from trainers.sources import open_source


def leaf(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def test_outputs_and_gradients_by_hand() -> None:
    """y = x1 w^2: dy/dx1 = w^2, dy/dw = 2 x1 w."""
    inputs, weights = {"x": leaf(2.0), "unused": leaf(1.0)}, {"w": leaf(3.0)}

    def function(inputs, weights):
        y = inputs["x"] * weights["w"] ** 2
        return {"y": y, "twice": (y, y)}, [y * 5, None]

    outputs, told = recomputed(function, inputs, weights)
    assert outputs["y"].tolist() == [18.0]
    assert told[0].tolist() == [90.0] and not told[0].requires_grad and told[1] is None
    total = outputs["y"] + 10 * outputs["twice"][0] + 100 * outputs["twice"][1]
    total.backward()
    assert inputs["x"].grad.tolist() == [111 * 9.0] and inputs["unused"].grad is None
    assert weights["w"].grad.tolist() == [111 * 12.0]


def test_an_input_given_back_keeps_its_gradient() -> None:
    inputs = {"x": leaf(2.0)}
    (back, product), _ = recomputed(lambda at: ((at["x"], 3 * at["x"]), None), inputs)
    (7 * back + product).backward()
    assert inputs["x"].grad.tolist() == [10.0]


def test_constant_outputs_have_no_gradient() -> None:
    inputs = {"x": leaf(2.0)}
    constant, _ = recomputed(lambda at: (torch.ones(1), None), inputs)
    constant.sum().backward()
    assert inputs["x"].grad is None


@pytest.mark.parametrize("run", [stored, recomputed])
def test_what_is_told_is_detached(run) -> None:
    inputs = {"x": leaf(2.0)}
    output, told = run(lambda at: (at["x"] * 2, {"seen": at["x"] * 3}), inputs)
    assert output.requires_grad and not told["seen"].requires_grad


def test_it_is_not_differentiated_twice() -> None:
    x = leaf(2.0)
    output, _ = recomputed(lambda at: (at["x"] ** 3, None), {"x": x})
    with pytest.raises(RuntimeError, match="cannot be differentiated twice"):
        torch.autograd.grad(output, x, create_graph=True)


def test_the_function_runs_again_in_the_same_precision() -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = {name: torch.randn(8, 8, generator=generator) for name in "ab"}

    def gradient(run) -> Tensor:
        leaves = {name: tensor.clone().requires_grad_() for name, tensor in inputs.items()}
        with torch.autocast("cpu", torch.bfloat16):
            product, _ = run(lambda at: ((at["a"] @ at["b"]).tanh(), None), leaves)
        product.float().sum().backward()
        return leaves["a"].grad

    assert torch.equal(gradient(recomputed), gradient(stored))


def free_memory(monkeypatch: pytest.MonkeyPatch, size: float) -> None:
    monkeypatch.setattr(memory, "SMALL", 0)
    monkeypatch.setattr(machine, "free_bytes", lambda device: int(size))


SHORT: Settings = {"iterations": 4, "validate_every": 2, "val_episodes": 2, "episodes": 5}
TINY: Settings = {"filters": 4, "query": 2, "meta_batch_size": 2, "threads": 1}
MAML: Settings = {**SHORT, **TINY, "algo": "maml", "lr": "lslr", "steps": 6, "eval_steps": 2}


@pytest.fixture(scope="module")
def needed(grey: Path) -> dict[str, int]:
    """The bytes that a training step of MAML needs, the graph being stored or recomputed."""
    source, config = open_source(str(grey)), complete(MAML, {"split": "quarters"})
    learner = learners.build(config, source)
    params, meta = learner.initial(1)

    def of_task(steps: int, is_recomputed: bool) -> int:
        how, size = replace(learner.training, recomputed=is_recomputed), Size(steps, 5, 10)
        return task_bytes(learner.algorithm, how, params, meta, source.input_shape, size)

    return {"stored": of_task(6, False), "recomputed": of_task(6, True) + of_task(1, False)}


def test_auto_keeps_what_fits_and_refuses_what_does_not(
    grey: Path, needed: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    stored, recomputed = needed["stored"], needed["recomputed"]
    assert stored > 2 * recomputed

    def chosen(free: float, **given: Any) -> str:
        free_memory(monkeypatch, free)
        settings = complete({**MAML, **given}, {"split": "quarters"})
        return Run.over(open_source(str(grey)), settings).config.inner_graph

    assert chosen(1.51 * stored) == "stored"
    assert chosen(1.49 * stored) == chosen(1.01 * recomputed) == "recomputed"
    assert chosen(1.51 * stored, multi_step=True) == "recomputed"
    assert chosen(1.01 * recomputed, algo="anil") == "stored"
    tied = {"regularizer": "trlearner", "meta_batch_size": 4}
    assert chosen(5.9 * stored, **tied) == chosen(2 * recomputed, **tied) == "recomputed"
    with pytest.raises(UsageError, match=r"a training step can need 0\.0 GB.*add --first-order"):
        chosen(0.98 * recomputed)
    with pytest.raises(UsageError, match="add --inner-graph recomputed or --first-order"):
        chosen(0.99 * stored, inner_graph="stored")


def test_a_run_keeps_its_graph_bit_for_bit_where_more_memory_is_free(
    grey: Path, tmp_path: Path, needed: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(lifecycle, "test", lambda *run: {})  # Nor are pictures drawn.

    def begin(out: str, stop: int | None = None) -> Path:
        with suppress(Interrupted):
            settings = {"dataset": str(grey), **MAML}
            lifecycle.begin(settings, None, Path(out), StopAfter(stop), Group())
        return Path(out)

    free_memory(monkeypatch, sum(needed.values()) / 2)
    whole, halted = begin("whole"), begin("halted", stop=2)
    last = "checkpoints/last.safetensors"
    assert (halted / last).read_bytes() != (whole / last).read_bytes()
    free_memory(monkeypatch, 1e12)
    lifecycle.resume(halted, {}, StopAfter(None), Group())

    assert 'inner_graph = "recomputed"' in (halted / "config.toml").read_text()
    assert (halted / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    expected, found = (load_file(run / last) for run in (whole, halted))
    assert all(torch.equal(tensor, found[name]) for name, tensor in expected.items())


PEAK = """
import resource, sys
import torch
import torch.nn.functional as F
from trainers.algorithms import MAML, Adaptation
from trainers.algorithms.base import initial
from trainers.backbones import Conv4
from trainers.rates import Fixed
from trainers.types import Task

torch.set_num_threads(1)
steps, how = int(sys.argv[1]), sys.argv[2]
generator = torch.Generator().manual_seed(0)
backbone = Conv4(5, 3, image_size=84, filters=16)
adaptation = Adaptation(
    backbone, Fixed(0.01), F.cross_entropy, 5, steps, training=True, recomputed=how == "recomputed"
)
params, meta = initial(MAML(), adaptation, generator, "cpu")
images, labels = torch.rand(25, 3, 84, 84, generator=generator), torch.arange(25) % 5
for _ in range(2):
    MAML().run(adaptation, params, meta, Task(images, labels, images, labels)).outer_loss.backward()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak_kilobytes(steps: int, graph: str) -> int:
    """The most memory of a process that takes two outer gradients, torch itself included."""
    command = [sys.executable, "-c", PEAK, str(steps), graph]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ru_maxrss is in bytes elsewhere")
def test_memory_does_not_grow_with_the_steps() -> None:
    one, twenty = (peak_kilobytes(steps, "recomputed") for steps in (1, 20))
    assert twenty < 1.15 * one
    assert peak_kilobytes(20, "stored") > 2 * one
