"""The run: a process for each row, all of them timed in turn, in rounds of shuffled order."""

import json
import os
import random
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import episodes
from streaming_bench import peer_files
from streaming_bench.processes import others_seconds, private_bytes
from streaming_bench.rows import Row, rows_of
from streaming_bench.task import Task

TOOLS = Path(__file__).resolve().parent.parent
PACKAGES = Path(episodes.__file__).resolve().parent.parent
SECONDS_BETWEEN_LOOKS = 0.05
SLOW_START_MS = 2000
CORES_OF_OTHERS = 0.1
READ_AT_ONCE = 16 << 20


@dataclass(frozen=True)
class Settings:
    """How the run is made: rounds, seconds a measurement, starts of what starts quickly.

    A measurement during which other programs took CORES_OF_OTHERS or more is made again, `patience`
    times at most; the least disturbed one stays.
    """

    rounds: int
    seconds: float
    starts: int
    patience: int
    peers_python: str
    files: str | None
    scratch: Path
    only: tuple[str, ...] = ()


@dataclass
class Measured:
    """A row as it was measured: what it delivered in each round, and how it started."""

    row: Row
    started: dict[str, Any]
    first_ms: list[float]
    images: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    others: list[float] = field(default_factory=list)
    private_bytes: int = 0


class Failed(Exception):
    """A row's process ended, or said that it cannot go on; the message says why."""


class Worker:
    """A row's process."""

    def __init__(self, row: Row, task: Task, settings: Settings, files: Path | None) -> None:
        job = {
            "feed": row.feed,
            "options": dict(row.options),
            "needs": row.needs,
            "task": asdict(task),
            "files": None if files is None else str(files),
            "image_shape": episodes.open(task.store).image_shape,
        }
        python = sys.executable if row.needs is None else settings.peers_python
        self._log = settings.scratch / "log.txt"
        command = [python, "-W", "ignore", "-m", "streaming_bench.worker", json.dumps(job)]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log.open("w"),
            env=os.environ | {"PYTHONPATH": _python_path()},
            text=True,
        )
        self.peak = 0
        self.started = self._answer()

    def measure(self, seconds: float, patience: int) -> dict[str, float]:
        """What the row delivered in about that many seconds, and how busy `others` were."""
        answers = []
        for _ in range(patience + 1):
            began, before = time.perf_counter(), others_seconds(self._process.pid)
            assert self._process.stdin is not None
            self._process.stdin.write(f"{seconds}\n")
            self._process.stdin.flush()
            answer = self._answer()
            others = others_seconds(self._process.pid) - before
            answer["others"] = max(0.0, others) / (time.perf_counter() - began)
            answers.append(answer)
            if answer["others"] < CORES_OF_OTHERS:
                break
        return min(answers, key=lambda answer: answer["others"])

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        while not select.select([self._process.stdout], [], [], SECONDS_BETWEEN_LOOKS)[0]:
            self.peak = max(self.peak, private_bytes(self._process.pid) or 0)
        line = self._process.stdout.readline()
        answer = json.loads(line) if line else {"failed": "it ended"}
        if "failed" in answer or "skipped" in answer:
            self.close()
            if "skipped" in answer:
                raise Failed(answer["skipped"])
            lines = self._log.read_text().splitlines()
            raise Failed(f"{answer['failed']} ({lines[-1] if lines else 'it said nothing'})")
        return answer


def run(
    tasks: list[Task], settings: Settings, tell: Callable[[str], None]
) -> list[tuple[Task, list[Measured], dict[str, str]]]:
    """For each task the rows that were measured, and why others were not."""
    results: list[tuple[Task, list[Measured], dict[str, str]]] = []
    with ExitStack() as stack:
        running: list[tuple[Worker, Measured, str]] = []
        for task in tasks:
            _warm(task)
            measured: list[Measured] = []
            skipped: dict[str, str] = {}
            for row in rows_of(task):
                if settings.only and not any(part in row.name for part in settings.only):
                    continue
                try:
                    worker, found = stack.enter_context(_started(row, task, settings))
                except Failed as reason:
                    skipped[row.name] = str(reason)
                    tell(f"{task}: {row.name}: not measured: {reason}")
                    continue
                tell(f"{task}: {row.name}: first episode after {found.first_ms[0]:.0f} ms")
                measured.append(found)
                running.append((worker, found, f"{task}: {row.name}"))
            results.append((task, measured, skipped))
        for task in tasks:
            _warm(task)  # again: the rows that have started may have taken the page cache's memory
        order = random.Random(0)
        for number in range(settings.rounds):
            order.shuffle(running)
            for worker, found, _ in running:
                answer = worker.measure(settings.seconds, settings.patience)
                found.images.append(int(answer["images"]))
                found.seconds.append(answer["seconds"])
                found.cpu_seconds.append(answer["cpu_seconds"])
                found.others.append(answer["others"])
                found.private_bytes = worker.peak
            tell(f"round {number + 1} of {settings.rounds}")
    return results


@contextmanager
def _started(row: Row, task: Task, settings: Settings) -> Iterator[tuple[Worker, Measured]]:
    files = _peer_files(row, task, settings)
    worker = Worker(row, task, settings, files)
    first_ms = [worker.started["first_ms"]]
    if first_ms[0] < SLOW_START_MS:
        for _ in range(settings.starts - 1):
            worker.close()
            worker = Worker(row, task, settings, files)
            first_ms.append(worker.started["first_ms"])
    try:
        yield worker, Measured(row, worker.started, first_ms)
    finally:
        worker.close()


def _peer_files(row: Row, task: Task, settings: Settings) -> Path | None:
    """A peer's files, made only if the peer is there."""
    if row.files is None:
        return None
    code = f"import importlib.util as u, sys; sys.exit(u.find_spec({row.needs!r}) is None)"
    environment = os.environ | {"PYTHONPATH": _python_path()}
    if subprocess.run([settings.peers_python, "-c", code], env=environment).returncode:
        raise Failed(f"{row.needs} is not installed for {Path(settings.peers_python).name}")
    write: Callable[[Task, Path, str | None], Path] = getattr(peer_files, row.files)
    return write(task, settings.scratch, settings.files)


def _warm(task: Task) -> None:
    """Read the store's files once, so that they are in the page cache."""
    store = episodes.open(task.store)
    for shard in store.info.shards:
        with (store.path / shard.file).open("rb") as file:
            while file.read(READ_AT_ONCE):
                pass


def _python_path() -> str:
    given = os.environ.get("PYTHONPATH")
    folders = [str(TOOLS), str(PACKAGES), *([given] if given else [])]
    return os.pathsep.join(folders)
