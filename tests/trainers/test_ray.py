"""Grids over Ray: a worker that is killed, and cells that need more than there is."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from episodes.errors import UsageError
from tests.trainers.grid_cells import TINY, iterations, kill_once_it_trains, wait_until_it_trains
from trainers.grids.cell import Cell, Ended
from trainers.grids.cluster import RayCluster
from trainers.grids.grid import finish
from trainers.grids.local import Local
from trainers.grids.planning import planned

pytestmark = pytest.mark.adapters
GLYPHS = {
    **{"dataset": "glyphs", "algo": "maml", "filters": 4, "query": 2, "steps": 2, "eval_steps": 2},
    **{"iterations": 20, "validate_every": 4, "val_episodes": 4, "episodes": 8, "threads": 1},
}


@pytest.fixture(autouse=True)
def ray() -> Any:
    return pytest.importorskip("ray")


def losses(directory: Path) -> list[float]:
    lines = (directory / "metrics.jsonl").read_text().splitlines()
    return [record["loss"] for record in map(json.loads, lines) if "loss" in record]


def test_a_grid_outlives_a_killed_worker_and_is_that_of_processes(tmp_path: Path) -> None:
    cells = [
        Cell(f"{lr}-seed{seed}", {**GLYPHS, "lr": lr, "seed": seed})
        for lr in ("fixed", "personalized", "alfa")
        for seed in (1, 2)
    ]
    over_ray, local = tmp_path / "ray", tmp_path / "local"
    victim, said = cells[0], list[str]()
    with ThreadPoolExecutor() as pool:
        killed = pool.submit(kill_once_it_trains, victim.directory(over_ray).path)
        assert finish(cells, over_ray, RayCluster(jobs=2), said.append) == {}
        killed.result(timeout=0)
    assert len(said) == 6 and all(": test accuracy " in line for line in said)
    attempts = re.findall(r"^\$ trainers run (\S+)", victim.log(over_ray).read_text(), re.M)
    assert attempts == ["--dataset", "--resume"]
    told = re.search(r"continues after iteration (\d+)", victim.log(over_ray).read_text())
    assert told and int(told.group(1)) >= 4

    assert finish(cells, local, Local(jobs=2), said.append) == {}
    for cell in cells:
        of_ray, of_process = cell.directory(over_ray), cell.directory(local)
        assert iterations(of_ray.path) == list(range(1, 21))
        assert losses(of_ray.path) == losses(of_process.path)
        assert of_ray.test_figures.read_bytes() == of_process.test_figures.read_bytes()


def test_tasks_end_with_the_engine(tmp_path: Path) -> None:
    long = {**TINY, "iterations": 100_000, "validate_every": 10}
    ready = planned([Cell("short", TINY), Cell("long", long)], tmp_path, threads=1)
    running = RayCluster(jobs=2).run(ready, tmp_path, print)
    assert next(running) == Ended(ready[0], None)
    wait_until_it_trains(tmp_path / "long")
    running.close()
    assert ready[1].last_line(tmp_path).startswith("interrupted at iteration ")


def test_a_cell_that_fails_is_told(tmp_path: Path) -> None:
    cells = [Cell("bad", {**TINY, "inner_lr": 1e30}), Cell("good", TINY)]
    failures = finish(cells, tmp_path, RayCluster(), print)
    assert failures.keys() == {"bad"} and "the loss is nan" in failures["bad"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_cell_that_needs_what_the_machine_lacks_is_refused(tmp_path: Path) -> None:
    cell = Cell("cell", {**TINY, "device": "cuda"})
    with pytest.raises(UsageError, match="cell needs 1 CPU and 1 GPU, which this machine does not"):
        finish([cell], tmp_path, RayCluster(), print)


def test_an_address_at_which_nobody_answers_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no Ray cluster answers at 127.0.0.1:9 .* `ray start"):
        finish([Cell("cell", TINY)], tmp_path, RayCluster("127.0.0.1:9"), print)
