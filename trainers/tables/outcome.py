"""The paper's figures and ours: means, intervals, differences, and whether they agree."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from episodes.errors import EpisodesError
from trainers import report
from trainers.assessment import evaluate_run
from trainers.grids.cell import Cell
from trainers.progress import Progress
from trainers.tables.making import Request
from trainers.tables.planning import split_of_test
from trainers.tables.quantities import Measured
from trainers.tables.table import TableCell

STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""The 97.5 % quantiles of Student's distribution, of 1 to 9 degrees of freedom."""
NORMAL = 1.96


@dataclass(frozen=True)
class Seed:
    """A run of a cell: its folder in OUT, what it measured of which tasks, and what a reader must
    know."""

    seed: int
    run: str
    command: str
    measured: Measured
    iteration: int
    fingerprint: str
    seconds: Mapping[str, float]
    hardware: Mapping[str, Any]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """A cell and its runs; `failures` say why runs have no figure, `iterations` how many they had
    under a budget."""

    cell: TableCell
    seeds: tuple[Seed, ...]
    failures: tuple[str, ...]
    iterations: int

    @property
    def is_limited(self) -> bool:
        """Whether a budget took iterations from it."""
        return self.iterations < int(self.cell.settings["iterations"])

    @property
    def ours(self) -> Measured:
        """The mean over seeds and its interval: of several seeds Student's over their means, of one
        that over its test tasks."""
        found = [seed.measured for seed in self.seeds]
        means = [measured.mean for measured in found if measured.mean is not None]
        if not means or len(means) < len(found):
            return Measured(None)
        if len(means) == 1:
            return found[0]
        if not all(map(math.isfinite, means)):
            return Measured(fmean(means))
        quantile = STUDENT[len(means) - 2] if len(means) - 2 < len(STUDENT) else NORMAL
        return Measured(fmean(means), quantile * stdev(means) / math.sqrt(len(means)))

    @property
    def difference(self) -> Measured:
        """Ours less the paper's; the interval is that of independent means."""
        ours, paper = self.ours, self.cell.paper
        if ours.mean is None or paper is None:
            return Measured(None)
        interval = math.hypot(ours.interval or 0, paper.interval or 0)
        has_one = ours.interval is not None or paper.interval is not None
        return Measured(ours.mean - paper.mean, interval if has_one else None)

    @property
    def verdict(self) -> str:
        """`agrees` where the interval of the difference has 0 in it, else `higher` or `lower`;
        nothing where one of the two has no figure."""
        difference = self.difference
        if difference.mean is None:
            return ""
        if abs(difference.mean) <= (difference.interval or 0) + self.cell.quantity.rounding:
            return "agrees"
        return "higher" if difference.mean > 0 else "lower" if difference.mean < 0 else "not finite"


def outcomes(
    request: Request,
    iterations: int | None,
    failures: Mapping[str, str],
    allow_overlap: bool,
    progress: Progress,
) -> list[Outcome]:
    """What the finished runs of each cell measured; those tested on another dataset are tested."""
    found = []
    for cell in request.cells:
        settings = request.settings(cell, iterations)
        seeds, why = [], []
        for run in request.grid(cell, iterations) if cell.why_not is None else ():
            try:
                seeds.append(_seed(cell, run, request, failures, allow_overlap, progress))
            except EpisodesError as error:
                why.append(f"seed {run.settings['seed']}: {error}")
        count = int(settings["iterations"])
        found.append(Outcome(cell, tuple(seeds), tuple(why), count))
    return found


def _seed(
    cell: TableCell,
    run: Cell,
    request: Request,
    failures: Mapping[str, str],
    allow_overlap: bool,
    progress: Progress,
) -> Seed:
    if run.name in failures:
        raise EpisodesError(failures[run.name])
    directory = run.directory(request.runs)
    trained = tested = directory.read_results()
    if cell.tested_on is not None:
        progress.note(f"{run.name} on {cell.tested_on}")
        _, tested = evaluate_run(
            *(directory.path, cell.tested_on, split_of_test(cell), {}, progress),
            reuse=True,
            allow_overlap=allow_overlap,
        )
    return Seed(
        seed=int(run.settings["seed"]),
        run=directory.path.relative_to(request.out).as_posix(),
        command=run.command,
        measured=cell.quantity.of(directory, tested),
        iteration=trained["checkpoint"]["iteration"],
        fingerprint=tested["test"]["fingerprint"],
        seconds=trained["seconds"],
        hardware=trained["hardware"],
        notes=(*report.notes(tested), *tested["warnings"]),
    )
