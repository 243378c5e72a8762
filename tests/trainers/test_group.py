"""Several processes that share out the tasks reach the same weights as one."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as processes

from episodes.errors import UsageError
from episodes.sampling import build
from trainers import config
from trainers.config import Settings
from trainers.group import Group
from trainers.learner import Learner
from trainers.run import Run
from trainers.sources import open_source
from trainers.task_sampling import TaskSampling
from trainers.training import shuffled
from trainers.types import Params, Task

ITERATIONS, TASKS = 3, 6

CASES: list[Settings] = [
    {"algo": "maml"},
    {"algo": "maml", "inner_graph": "recomputed", "blocks": "plain"},
    {"regularizer": "trlearner", "algo": "maml"},
    {"regularizer": "trlearner", "algo": "anil", "trlearner_relation": "shuffled"},
    {"regularizer": "trlearner", "algo": "maml", "task_batching": "batched"},
    {"regularizer": "trlearner", "algo": "protonet", "lr": "none", "steps": 0, "eval_steps": 0},
    {"sampler": "adaptive", "sampler_lr": 0.1},
    {"sampler": "adaptive", "sampler_lr": 0.1, "sampler_mode": "sampling", "algo": "maml"},
    {"sampler": "adaptive", "sampler_lr": 0.1, "regularizer": "trlearner"},
]


class Doubled(Learner):
    """A learner whose tasks are float64, in which the order of sums hardly shows."""

    def tasks(self, batch: Any, seed: int) -> Task:
        tasks = super().tasks(batch, seed)
        return tasks._replace(
            support_inputs=tasks.support_inputs.double(), query_inputs=tasks.query_inputs.double()
        )


def double(tensors: Params) -> Params:
    return {n: t.detach().double().requires_grad_(t.requires_grad) for n, t in tensors.items()}


def trained(grey: str, given: Settings, group: Group) -> dict[str, torch.Tensor]:
    """The weights after a few steps of gradient descent, and the sampler's state."""
    torch.set_num_threads(1)
    tiny: Settings = {"filters": 3, "query": 2, "way": 3, "meta_batch_size": TASKS, "steps": 2}
    chosen = config.complete(tiny | given, {"split": "quarters", "threads": 1, "dataset": grey})
    run = Run.over(open_source(grey), chosen)
    learner, training = Doubled(**vars(run.learner)), run.streams.training
    name = chosen.sampler if chosen.sampler == "adaptive" else "uniform"
    fields = {"rate": 0.1, "mode": chosen.own["sampler_mode"]} if name == "adaptive" else {}
    sampler = build(name, training, TASKS, 1, **fields)  # type: ignore[arg-type]
    params, meta = map(double, learner.initial(1))
    tensors = [t for t in (*params.values(), *meta.values()) if t.requires_grad]
    stream: Any = training
    sampling = TaskSampling(sampler, stream, learner, 1, lambda weights: None, group)  # type: ignore[arg-type, return-value]
    for iteration in range(ITERATIONS):
        order = shuffled(TASKS, 1, iteration)
        sampling.outer_gradient(learner.training, params, meta, iteration, 0.1, order)
        with torch.no_grad():
            for tensor in tensors:
                if tensor.grad is not None:
                    tensor -= 0.1 * tensor.grad
    state = {f"sampler/{n}": torch.as_tensor(a).clone() for n, a in sampler.state().items()}
    return params | meta | state


def work(rank: int, world: int, meeting: str, grey: str, cases: list[Settings], out: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=world)
    found = [trained(grey, given, Group.current()) for given in cases]
    torch.save(found, f"{out}-{rank}")
    dist.destroy_process_group()


@pytest.mark.parametrize("world", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_ranks_train_as_one(world: int, grey: Path, tmp_path: Path) -> None:
    expected = [trained(str(grey), given, Group()) for given in CASES]
    arguments = (world, str(tmp_path / "meeting"), str(grey), CASES, str(tmp_path / "found"))
    processes.spawn(work, arguments, nprocs=world)
    for rank in range(world):
        found = torch.load(tmp_path / f"found-{rank}")
        for given, alone, shared in zip(CASES, expected, found, strict=True):
            assert alone.keys() == shared.keys()
            for name, tensor in alone.items():
                # Adam of the sampler's network makes rounding errors of a gradient of 0 larger.
                allowed = 1e-8 if name.startswith("sampler/") else 1e-10
                torch.testing.assert_close(
                    shared[name], tensor, rtol=allowed, atol=allowed, msg=f"{given} {name}"
                )


def test_shares_are_disjoint_and_even() -> None:
    assert [Group(rank, 3).share(6) for rank in range(3)] == [[0, 3], [1, 4], [2, 5]]
    with pytest.raises(UsageError, match="5 tasks cannot be shared out evenly among 2 ranks"):
        Group(0, 2).share(5)
