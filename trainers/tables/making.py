"""Training what a table's cells need: each run once, wherever it is shared, then found again."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from episodes.errors import EpisodesError
from trainers.config import DEFAULTS, Settings
from trainers.grids.cell import Cell
from trainers.grids.grid import Engine, finish
from trainers.settings import Value
from trainers.tables.budget import PACE_ITERATIONS, Budget, pacing, reduced
from trainers.tables.table import Table, TableCell

Say = Callable[[str], object]


@dataclass(frozen=True)
class Request:
    """The chosen `cells` of a table, from training seeds 1 to `seeds`, in the folder `out`.

    `machine` are the settings of how to compute. Runs are in OUT/runs, named by their settings, so
    that cells and tables with the same settings share them; those that show paces in OUT/paces.
    `jobs` runs go on at a time.
    """

    table: Table
    cells: tuple[TableCell, ...]
    out: Path
    seeds: int = 1
    budget: Budget | None = None
    machine: Settings = field(default_factory=dict)
    jobs: int = 1

    @property
    def runs(self) -> Path:
        """The folder of the runs."""
        return self.out / "runs"

    @property
    def runnable(self) -> tuple[TableCell, ...]:
        """The cells that can be run."""
        return tuple(cell for cell in self.cells if cell.why_not is None)

    def settings(self, cell: TableCell, iterations: int | None) -> Settings:
        """A cell's settings with at most so many iterations; None: with its own."""
        return dict(cell.settings) if iterations is None else reduced(cell.settings, iterations)

    def grid(self, cell: TableCell, iterations: int | None) -> list[Cell]:
        """A cell's runs, one a seed."""
        settings = self.settings(cell, iterations)
        return [self._run(settings, seed) for seed in range(1, self.seeds + 1)]

    def train(self, iterations: int | None, engine: Engine, say: Say) -> dict[str, str]:
        """Finish the runs of all cells; why a run is not finished, by its name.

        Raises as `grids.grid.finish`.
        """
        found = [run for cell in self.runnable for run in self.grid(cell, iterations)]
        return finish(_each_once(found), self.runs, engine, say)

    def iterations(self, engine: Engine, say: Say) -> int | None:
        """The iterations that the budget gives each run; None without a budget.

        For a budget in time a short run of each cell shows its pace first. It is kept, so that the
        same command comes to the same number. Raises EpisodesError where such a run fails.
        """
        if self.budget is None or self.budget.iterations is not None:
            return None if self.budget is None else self.budget.iterations
        settings = [pacing(cell.settings) for cell in self.runnable if cell.settings["iterations"]]
        short = _each_once([self._run(each, 1) for each in settings])
        folder = self.out / "paces"
        say(f"{self.budget.text}: {PACE_ITERATIONS} iterations of each cell show its pace")
        if failures := finish(short, folder, engine, say):
            name, why = next(iter(failures.items()))
            raise EpisodesError(f"{folder / name}: {why}")
        paces = {run.name: _seconds_an_iteration(run, folder) for run in short}
        return self.budget.iterations_at(paces, self.seeds, self.jobs)

    def _run(self, settings: Settings, seed: int) -> Cell:
        return Cell(f"{run_name(settings)}-seed{seed}", {**settings, "seed": seed, **self.machine})


def run_name(settings: Mapping[str, Value]) -> str:
    """`miniimagenet-5w1s-anil-fixed-1b2c3d4e`, the end being the hash of all settings."""
    told = json.dumps(settings, sort_keys=True)
    digest = hashlib.sha256(told.encode()).hexdigest()[:8]
    named = {**DEFAULTS, **settings}
    counts = (("way", "w"), ("shot", "s"))
    shape = "".join(f"{settings[name]}{letter}" for name, letter in counts if name in settings)
    parts = (named["dataset"], shape, named["algo"], named["lr"], digest)
    return "-".join(str(part) for part in parts if part)


def _each_once(runs: Sequence[Cell]) -> list[Cell]:
    return list({run.name: run for run in runs}.values())


def _seconds_an_iteration(run: Cell, folder: Path) -> float:
    seconds: float = run.directory(folder).read_results()["seconds"]["training"]
    return seconds / PACE_ITERATIONS
