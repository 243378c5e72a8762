"""Cells of tests: tiny runs, their killing in the middle, and an engine without processes."""

import json
import os
import signal
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from pathlib import Path

from trainers.grids.cell import Cell, Ended
from trainers.grids.cluster import _run

TINY = {
    **{"dataset": "sinusoid", "lr": "fixed", "steps": 1, "eval_steps": 1},
    **{"iterations": 2, "val_episodes": 2, "episodes": 4, "threads": 1},
}


class InThisProcess:
    """An engine that runs one cell after the other, here."""

    threads = 1

    def run(
        self, cells: Sequence[Cell], folder: Path, say: Callable[[str], object]
    ) -> Generator[Ended]:
        for cell in cells:
            yield Ended.with_code(cell, _run(cell, folder, {}), folder)


def holder(lock: Path) -> int | None:
    """The process that has a file open, by /proc."""
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):
            if os.readlink(link) == str(lock):
                return int(link.parts[2])
    return None


def wait_until_it_trains(directory: Path) -> None:
    """Until the run in a directory has validated twice, so that a checkpoint of it is there."""
    metrics = directory / "metrics.jsonl"
    while not metrics.exists() or metrics.read_bytes().count(b"validation_interval") < 2:
        time.sleep(0.01)


def kill_once_it_trains(directory: Path) -> None:
    """SIGKILL the process that is in a run directory."""
    wait_until_it_trains(directory)
    pid = holder((directory / "lock").resolve())
    assert pid is not None and pid != os.getpid()
    os.kill(pid, signal.SIGKILL)


def iterations(directory: Path) -> list[int]:
    """The numbers of the iterations in a run's metrics."""
    lines = (directory / "metrics.jsonl").read_text().splitlines()
    return [record["iteration"] for record in map(json.loads, lines) if "loss" in record]
