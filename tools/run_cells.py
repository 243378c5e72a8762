"""Grids of `trainers run`: each cell a directory, finished ones kept, interrupted ones resumed."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cell:
    """A run: the name of its directory, and what `trainers run` is told without it."""

    name: str
    command: tuple[str, ...]


def run_cells(
    cells: Sequence[Cell], runs: Path, jobs: int, say: Callable[[str], object] = print
) -> None:
    """Train and test the cells that are not finished in `runs`, `jobs` at a time.

    What a run says is kept beside its directory, in NAME.log; its last line is said.
    """
    runs.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(jobs) as pool:
        for line in pool.map(lambda cell: _run(cell, runs), cells):
            say(line)


def end_of_log(cell: Cell, runs: Path) -> str:
    """The last line that a run said; nothing where it has not run."""
    log = runs / f"{cell.name}.log"
    lines = log.read_text(encoding="utf-8").strip().splitlines() if log.exists() else []
    return lines[-1] if lines else ""


def _run(cell: Cell, runs: Path) -> str:
    directory = runs / cell.name
    if not (directory / "results.json").exists():
        is_begun = (directory / "config.toml").exists()
        where = ("--resume", str(directory)) if is_begun else ("--out", str(directory))
        command = where if is_begun else (*cell.command, *where)
        said = subprocess.run(
            [sys.executable, "-m", "trainers", "run", *command], capture_output=True, text=True
        )
        (runs / f"{cell.name}.log").write_text(said.stderr + said.stdout, encoding="utf-8")
    return f"{cell.name}: {end_of_log(cell, runs)}"
