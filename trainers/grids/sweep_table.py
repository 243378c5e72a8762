"""What a sweep measured: a row a combination of settings, as Markdown, CSV and plain data."""

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from trainers.comparison import read_figures
from trainers.config import Settings
from trainers.files import write_whole
from trainers.grids.sweep import Sweep, text
from trainers.metrics import METRICS
from trainers.settings import dashed
from trainers.tasks.metrics import confidence_interval

Row = dict[str, Any]


def rows(sweep: Sweep, folder: Path, failures: Mapping[str, str]) -> list[Row]:
    """A row a combination: its settings, its runs, and over those that are finished the `mean` and
    its 95 % `interval`, None where there are none.

    The interval is over test episodes, which all seeds share: that of the mean over seeds of an
    episode's figure. It says nothing of how much seeds differ; the runs' own means do.
    """
    return [_row(sweep, combination, folder, failures) for combination in sweep.combinations()]


def _row(sweep: Sweep, combination: Settings, folder: Path, failures: Mapping[str, str]) -> Row:
    cells = sweep.cells(combination)
    found = {c.name: read_figures(folder / c.name) for c in cells if c.name not in failures}
    runs = [
        {
            "run": cell.name,
            "seed": cell.settings["seed"],
            "command": cell.command,
            **_summary(found[cell.name].figures if cell.name in found else None),
            "failure": failures.get(cell.name),
        }
        for cell in cells
    ]
    measured = list(found.values())
    over_seeds = np.mean([run.figures for run in measured], axis=0) if measured else None
    return {
        "settings": combination,
        "metric": measured[0].metric.name if measured else None,
        **_summary(over_seeds),
        "runs": runs,
    }


def _summary(figures: np.ndarray | None) -> Row:
    if figures is None:
        return {"mean": None, "interval": None}
    return {"mean": float(figures.mean()), "interval": confidence_interval(figures)}


def markdown(sweep: Sweep, rows: list[Row]) -> str:
    """The rows as a table, and under it why runs failed."""
    names = [dashed(name) for name in sweep.varied]
    heads = [*names, "mean and interval", *(["by seed"] if sweep.seeds > 1 else [])]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in rows:
        cells = [*map(text, row["settings"].values()), _mean(row)]
        if sweep.seeds > 1:
            cells.append(", ".join(_of_seed(row, run) for run in row["runs"]))
        lines.append(f"| {' | '.join(cells)} |")
    failed = [run for row in rows for run in row["runs"] if run["failure"] is not None]
    lines += [f"\n{run['run']} failed: {run['failure']}" for run in failed]
    return "\n".join(lines)


def _mean(row: Row) -> str:
    if row["mean"] is None:
        return "-"
    return f"{row['metric']} {METRICS[row['metric']].text(row['mean'], row['interval'])}"


def _of_seed(row: Row, run: Row) -> str:
    return "failed" if run["mean"] is None else METRICS[row["metric"]].text(run["mean"])


def comma_separated(sweep: Sweep, rows: list[Row]) -> str:
    """A line a run."""
    of_run = ("seed", "mean", "interval", "run", "failure")
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow([*map(dashed, sweep.varied), "metric", *of_run])
    for row in rows:
        for run in row["runs"]:
            own = (run[name] for name in of_run)
            writer.writerow([*map(text, row["settings"].values()), row["metric"], *own])
    return table.getvalue()


def write(sweep: Sweep, rows: list[Row], folder: Path) -> None:
    """Write sweep.json, sweep.md and sweep.csv into a folder."""
    texts = {
        "json": json.dumps(rows, indent=1) + "\n",
        "md": markdown(sweep, rows) + "\n",
        "csv": comma_separated(sweep, rows),
    }
    for suffix, content in texts.items():
        write_whole(folder / f"sweep.{suffix}", content.encode())
