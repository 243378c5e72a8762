"""The processes of the rows: told what to do over pipes, as many at once as the memory holds."""

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from streaming_bench.processes import others_seconds

import episodes
from trainers.machine import ALLOCATOR, free_bytes
from training_bench.rows import Row
from training_bench.setting import Setting

TOOLS = Path(__file__).resolve().parent.parent
PACKAGES = Path(episodes.__file__).resolve().parent.parent
PROBLEM, CHECK = "problem.npz", "check.npz"
MARGIN = 1 << 30
FIRST_GUESS = 3 << 30
"""The memory that a row may take, as long as none has been seen."""


class Failed(Exception):
    """A row's process ended, or said that it cannot go on; the message says why."""


@dataclass(frozen=True)
class Place:
    """What all rows of a run share: the setting, the Python of the peers, and a folder that holds
    the problems and takes gradients and logs."""

    setting: Setting
    peers_python: str
    scratch: Path

    def gradient(self, row: Row) -> Path:
        """Where a row writes its gradient of the small problem."""
        name = re.sub(r"[^\w.=-]+", "_", f"{row.algo} {row.name}")
        return self.scratch / f"gradient-{name}.npz"


class Worker:
    """A row's process."""

    def __init__(self, row: Row, place: Place, is_compared: bool) -> None:
        job = {
            "row": asdict(row),
            "setting": asdict(place.setting),
            "problem": str(place.scratch / PROBLEM),
            "check": str(place.scratch / CHECK),
            "gradient": str(place.gradient(row)) if is_compared else None,
        }
        python = sys.executable if row.is_ours else place.peers_python
        self._log = place.scratch / "log.txt"
        self._process = subprocess.Popen(
            [python, "-W", "ignore", "-m", "training_bench.worker", json.dumps(job)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log.open("w"),
            env=_environment(),
            text=True,
        )
        self.version = self._answer()["version"]

    def ask(self, command: str, count: int) -> dict[str, Any]:
        """The seconds that it took, memory at its peak, and the cores that others had meanwhile."""
        began, before = time.perf_counter(), others_seconds(self._process.pid)
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps([command, count]) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass
        answer = self._answer()
        others = max(0.0, others_seconds(self._process.pid) - before)
        return answer | {"others": others / (time.perf_counter() - began)}

    @property
    def resident_bytes(self) -> int:
        """What it holds now; 0 where it is not told."""
        try:
            status = Path(f"/proc/{self._process.pid}/status").read_text()
        except OSError:
            return 0
        found = re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
        return int(found[1]) << 10 if found else 0

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"failed": "its process ended"}
        if "skipped" in answer or "failed" in answer:
            self.close()
            if "skipped" in answer:
                raise Failed(answer["skipped"])
            said = self._log.read_text().splitlines()
            status = f"exit status {self._process.returncode}" if not line else ""
            raise Failed(f"{answer['failed']} ({said[-1] if said else status})")
        return answer


class Pool:
    """The rows' processes; one that has waited longest makes room for another where the memory
    would not hold both, and is started again, and warmed up, at its next turn."""

    def __init__(self, place: Place, warm_up: int) -> None:
        self._place, self._warm_up = place, warm_up
        self._workers: dict[Row, Worker] = {}  # Those that have waited longest come first.
        self._peaks: dict[Row, int] = {}

    def ask(self, row: Row, command: str, count: int, is_compared: bool) -> dict[str, Any]:
        """What the row's process answers, which is started before where it is not there; raises
        Failed."""
        worker = self._workers.pop(row, None)
        self._make_room(row, 0 if worker is None else worker.resident_bytes)
        if worker is None:
            worker = Worker(row, self._place, is_compared)
            worker.ask("iterate", self._warm_up)
        answer = worker.ask(command, count)
        self._workers[row] = worker
        self._peaks[row] = answer["peak_bytes"] or 0
        return answer | {"version": worker.version}

    def close(self) -> None:
        """End all processes."""
        for worker in self._workers.values():
            worker.close()
        self._workers.clear()

    def _make_room(self, row: Row, held: int) -> None:
        guess = max(self._peaks.values(), default=FIRST_GUESS)
        needed = self._peaks.get(row, guess) - held + MARGIN
        while self._workers and (free_bytes("cpu") or needed) < needed:
            self._workers.pop(next(iter(self._workers))).close()


def _environment() -> dict[str, str]:
    """This process's environment, but for what would choose an allocator."""
    kept = {n: v for n, v in os.environ.items() if n != ALLOCATOR and not n.startswith("MALLOC_")}
    folders = [str(TOOLS), str(PACKAGES), *filter(None, [os.environ.get("PYTHONPATH")])]
    return kept | {"PYTHONPATH": os.pathsep.join(folders)}
