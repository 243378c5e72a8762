"""Cells as processes of this machine, some at a time."""

import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainers.grids.cell import Cell, Ended

SECONDS_BETWEEN_LOOKS = 0.05


def threads_each(jobs: int) -> int:
    """The threads of each of `jobs` processes that share this machine."""
    import torch

    return max(1, torch.get_num_threads() // jobs)


@dataclass(frozen=True)
class Local:
    """Runs `jobs` cells at a time, each as a process of its own."""

    jobs: int = 1

    @property
    def threads(self) -> int:
        """The threads of a cell that does not set them."""
        return threads_each(self.jobs)

    def run(
        self, cells: Sequence[Cell], folder: Path, say: Callable[[str], object]
    ) -> Generator[Ended]:
        """Each cell as it ends. Closing interrupts those that run, which can then be resumed."""
        waiting = deque(cells)
        running: dict[subprocess.Popen[str], Cell] = {}
        try:
            while waiting or running:
                while waiting and len(running) < self.jobs:
                    cell = waiting.popleft()
                    running[_process(cell, folder)] = cell
                time.sleep(SECONDS_BETWEEN_LOOKS)
                for process in [process for process in running if process.poll() is not None]:
                    yield Ended.with_code(running.pop(process), process.returncode, folder)
        finally:
            _interrupt(running)


def _process(cell: Cell, folder: Path) -> subprocess.Popen[str]:
    """The cell's command, in a process group of its own: Ctrl-C reaches it once, through us."""
    arguments = cell.arguments(folder)
    with cell.open_log(folder, arguments) as log:
        return subprocess.Popen(
            [sys.executable, "-m", "trainers", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            text=True,
            process_group=0,
        )


def _interrupt(processes: Iterable[subprocess.Popen[str]]) -> None:
    """Ask processes to write a checkpoint and end; those that a second Ctrl-C finds are killed."""
    try:
        for process in processes:
            process.send_signal(signal.SIGINT)
        for process in processes:
            process.wait()
    finally:
        for process in processes:
            process.kill()
