"""Runs side by side on the sources of Meta-Dataset: means, intervals and ranks."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import episodes
from episodes.errors import UsageError
from trainers import report
from trainers.assessment import evaluate_run
from trainers.config import Settings
from trainers.progress import Progress
from trainers.ranks import Measured, ranks
from trainers.sources import OFFICIAL_SCHEME


@dataclass(frozen=True)
class SourceTable:
    """What each method reached on each source: accuracies in 0..1, `cells[source][method]`."""

    methods: tuple[str, ...]
    cells: Mapping[str, tuple[Measured, ...]]

    @property
    def ranks(self) -> dict[str, list[float]]:
        """The methods' ranks on each source."""
        return {source: ranks(row) for source, row in self.cells.items()}

    @property
    def mean_ranks(self) -> list[float]:
        """The methods' ranks, averaged over the sources."""
        return np.mean(list(self.ranks.values()), axis=0).tolist()

    def markdown(self) -> str:
        """A row a source in the benchmark's layout, ranks in brackets, and the mean ranks."""
        lines = [
            f"| source | {' | '.join(self.methods)} |",
            "|---" * (1 + len(self.methods)) + "|",
        ]
        for source, row in self.cells.items():
            cells = " | ".join(
                f"{100 * cell.mean:.2f} ± {100 * cell.interval:.2f} ({rank:g})"
                for cell, rank in zip(row, self.ranks[source], strict=True)
            )
            lines.append(f"| {source} | {cells} |")
        lines.append(f"| mean rank | {' | '.join(f'{rank:.2f}' for rank in self.mean_ranks)} |")
        return "\n".join(lines)

    def figures(self) -> dict[str, Any]:
        """The table as plain data."""
        return {
            "methods": list(self.methods),
            "sources": {
                source: [
                    {"accuracy": cell.mean, "interval": cell.interval, "rank": rank}
                    for cell, rank in zip(row, self.ranks[source], strict=True)
                ]
                for source, row in self.cells.items()
            },
            "mean_ranks": dict(zip(self.methods, self.mean_ranks, strict=True)),
        }


def measure(
    runs: Sequence[Path],
    sources: Sequence[str],
    given: Settings,
    progress: Progress,
    allow_overlap: bool = False,
) -> SourceTable:
    """The best checkpoint of each run on the test classes of each source.

    What a run's folder holds of this already is read, not measured again. Raises UsageError as
    `evaluate_run`, and for two runs of one name.
    """
    methods = tuple(run.name for run in runs)
    if len(set(methods)) < len(methods):
        raise UsageError(f"two runs have one name ({', '.join(methods)}): rename a folder")
    cells = {}
    for source in sources:
        row = []
        for run in runs:
            progress.note(f"{run.name} on {source}")
            _, results = evaluate_run(
                *(run, source, split_of(source), given, progress),
                reuse=True,
                allow_overlap=allow_overlap,
            )
            for note in report.notes(results):
                progress.note(note)
            test = results["test"]
            row.append(Measured(test["accuracy"], test["interval"]))
        cells[source] = tuple(row)
    return SourceTable(methods, cells)


def split_of(dataset: str) -> str:
    """Meta-Dataset's test classes of a dataset that has its split, else the dataset's own."""
    schemes = episodes.open(dataset).info.splits
    return f"{OFFICIAL_SCHEME}.test" if OFFICIAL_SCHEME in schemes else "test"


def published(path: Path) -> SourceTable:
    """A table that was written as `SourceTable.figures`, such as a paper's."""
    found = json.loads(path.read_text(encoding="utf-8"))
    cells = {
        source: tuple(Measured(cell["accuracy"], cell["interval"]) for cell in row)
        for source, row in found["sources"].items()
    }
    return SourceTable(tuple(found["methods"]), cells)
