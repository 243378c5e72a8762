"""Cells as tasks of Ray, on this machine or on a cluster whose nodes share the folder."""

import os
import socket
import traceback
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from episodes.adapters import framework
from episodes.errors import UsageError
from trainers.grids.cell import Cell, Ended
from trainers.grids.local import threads_each

RETRIES = 3
SECONDS_TO_ANSWER = 10
SECONDS_TO_STOP = 60
OBJECT_STORE_BYTES = 100 * 2**20
"""Little above the least that Ray takes: only exit codes go through it."""
QUIET = {"log_to_driver": False, "logging_level": "ERROR"}


@dataclass(frozen=True)
class RayCluster:
    """Runs cells over the Ray cluster at `address`; without one, over a cluster of this machine
    that takes `jobs` cells at a time and ends with the grid.

    A cell is a task of as many CPUs as it has threads, and of a GPU where it computes on one. It
    runs in the task's own process, so its directory is unlocked when that dies; Ray then starts the
    task again, on any node, and the run goes on from its last checkpoint.
    """

    address: str | None = None
    jobs: int = 1

    @property
    def threads(self) -> int:
        """The threads of a cell that does not set them."""
        return 1 if self.address else threads_each(self.jobs)

    def run(
        self, cells: Sequence[Cell], folder: Path, say: Callable[[str], object]
    ) -> Generator[Ended]:
        """Each cell as it ends. Closing interrupts those that run, which can then be resumed.

        Raises UsageError without Ray, where no cluster answers, and for a cell that needs more than
        this machine has.
        """
        ray = framework("ray", "'fewshot-episodes[ray]'")
        folder = folder.resolve()
        with self._connected(ray, cells):
            self._check_room(ray, cells, say)
            # A process for each cell: nothing of one is left in the memory of the next.
            task = ray.remote(max_calls=1, max_retries=RETRIES)(_run)
            running = {
                task.options(name=cell.name, **_options(cell)).remote(
                    cell, folder, _environment()
                ): cell
                for cell in cells
            }
            try:
                while running:
                    [done], _ = ray.wait(list(running), num_returns=1)
                    yield _ended(ray, done, running.pop(done), folder)
            finally:
                _interrupt(ray, list(running))

    @contextmanager
    def _connected(self, ray: Any, cells: Sequence[Cell]) -> Iterator[None]:
        if self.address is None:
            os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
            ray.init(
                "local",
                num_cpus=self.jobs * max(_needs(cell)["CPU"] for cell in cells),
                object_store_memory=OBJECT_STORE_BYTES,
                include_dashboard=False,
                **QUIET,
            )
        else:
            _connect(ray, self.address)
        try:
            yield
        finally:
            ray.shutdown()

    def _check_room(self, ray: Any, cells: Sequence[Cell], say: Callable[[str], object]) -> None:
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        for cell in cells:
            needs = _needs(cell)
            if any(all(node.get(n, 0) >= count for n, count in needs.items()) for node in nodes):
                continue
            wanted = " and ".join(f"{count} {name}" for name, count in needs.items() if count)
            if self.address is None:
                raise UsageError(f"{cell.name} needs {wanted}, which this machine does not have")
            say(f"{cell.name} waits for a node with {wanted}: the cluster has none now")


def _connect(ray: Any, address: str) -> None:
    """Raises UsageError where no cluster answers, sooner than Ray, which tries for minutes."""
    host, _, port = address.rpartition("/")[2].rpartition(":")
    try:
        if port.isdigit():
            socket.create_connection((host, int(port)), SECONDS_TO_ANSWER).close()
        ray.init(address, **QUIET)
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise UsageError(
            f"no Ray cluster answers at {address} ({reason}): start one with `ray start --head`, "
            "or leave out --address"
        ) from None


def _needs(cell: Cell) -> dict[str, int]:
    """What Ray must have free for a cell, by Ray's own names."""
    return {"CPU": int(cell.settings["threads"]), "GPU": int(cell.settings["device"] == "cuda")}


def _options(cell: Cell) -> dict[str, int]:
    needs = _needs(cell)
    return {"num_cpus": needs["CPU"], "num_gpus": needs["GPU"]}


def _environment() -> dict[str, str]:
    """The variables by which the user set the two packages up."""
    ours = ("EPISODES_", "TRAINERS_")
    return {name: value for name, value in os.environ.items() if name.startswith(ours)}


def _run(cell: Cell, folder: Path, environment: Mapping[str, str]) -> int:
    """The exit code of a cell's command, in this process; what it says goes to the cell's log."""
    os.environ.update(environment)
    from trainers.cli import main

    arguments = cell.arguments(folder)
    with cell.open_log(folder, arguments) as log, redirect_stdout(log), redirect_stderr(log):
        try:
            main(arguments)
        except SystemExit as end:
            return int(end.code or 0)
        except Exception:
            traceback.print_exc()
            return 1
    return 0


def _ended(ray: Any, task: Any, cell: Cell, folder: Path) -> Ended:
    try:
        return Ended.with_code(cell, ray.get(task), folder)
    except ray.exceptions.RayError as error:
        told = str(getattr(error, "cause", None) or error).strip().partition("\n")[0]
        return Ended(cell, f"Ray gave it up: {told}")


def _interrupt(ray: Any, tasks: list[Any]) -> None:
    """Ask tasks to write a checkpoint and end, as Ctrl-C does."""
    for task in tasks:
        ray.cancel(task)
    if tasks:
        ray.wait(tasks, num_returns=len(tasks), timeout=SECONDS_TO_STOP)
