"""Alpha MAML's claim on Omniglot: how many iterations to a loss, over a grid of initial rates.

    python tools/alpha_maml_grid.py runs/alpha-maml

MAML with Adam outside, and Alpha MAML, which is gradient descent outside with both rates adapted,
from every pair of initial rates. Each cell is a `trainers run`; what is finished is kept. Writes
docs/results/alpha_maml.json and .png.
"""

import json
from pathlib import Path
from typing import Any

import click
import numpy as np

from trainers.config import Settings
from trainers.grids.cell import Cell
from trainers.grids.grid import finish
from trainers.grids.local import Local
from trainers.tables.quantities import AVERAGED, HALF_A_GUESS, iterations_to_loss

RESULTS = Path(__file__).parent.parent / "docs" / "results"
INNER_RATES = (0.001, 0.01, 0.1, 0.4, 1.0)
OUTER_RATES = (1e-5, 1e-4, 1e-3, 1e-2)
METHODS: dict[str, Settings] = {
    "MAML": {"lr": "fixed"},
    "Alpha MAML": {"lr": "hypergradient", "hyper_lr": 0.01, "outer_hyper_lr": 1e-6},
}


def cell(method: str, inner: float, outer: float, iterations: int) -> Cell:
    """The run from one pair of initial rates."""
    return Cell(
        f"{method.lower().replace(' ', '-')}-{inner:g}-{outer:g}",
        {
            "dataset": "omniglot",
            "algo": "maml",
            **METHODS[method],
            "inner_lr": inner,
            "outer_lr": outer,
            "downsample": "stride",
            "steps": 1,
            "eval_steps": 1,
            "query": 5,
            "meta_batch_size": 8,
            "iterations": iterations,
            "validate_every": iterations,
            "val_episodes": 20,
            "episodes": 20,
            "threads": 1,
            "skip_diverged": iterations,
        },
    )


def summary(table: dict[str, list[list[int | None]]], iterations: int) -> dict[str, Any]:
    """Cells that reached the loss; the median ratio and the spread, with censored cells at the end.

    Counting a cell that did not reach the loss as if it had at the last iteration favours the
    method with more of them.
    """
    counts = {
        method: np.array([[iterations if n is None else n for n in row] for row in rows], float)
        for method, rows in table.items()
    }
    maml, alpha = counts["MAML"], counts["Alpha MAML"]
    return {
        "reached": {
            method: sum(n is not None for row in rows for n in row)
            for method, rows in table.items()
        },
        "cells": maml.size,
        "median_ratio": float(np.median(alpha / maml)),
        "slower": int((alpha > maml).sum()),
        "spread_of_log_iterations": {
            method: float(np.log(values).std()) for method, values in counts.items()
        },
    }


def picture(table: dict[str, list[list[int | None]]], iterations: int, path: Path) -> None:
    """The two heat maps, side by side; a cross where the loss was not reached."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2, sharey=True)
    for panel, (method, rows) in zip(panels, table.items(), strict=True):
        values = np.array([[np.nan if n is None else n for n in row] for row in rows], float)
        image = panel.imshow(values, cmap="viridis_r", vmin=AVERAGED, vmax=iterations)
        for row, column in np.ndindex(values.shape):
            value = values[row, column]
            text = f"> {iterations}" if np.isnan(value) else f"{value:.0f}"
            dark = value > 0.55 * iterations
            panel.text(
                column, row, text, ha="center", va="center", color="white" if dark else "black"
            )
        panel.set_title(method)
        panel.set_xticks(range(len(OUTER_RATES)), [f"{rate:g}" for rate in OUTER_RATES])
        panel.set_yticks(range(len(INNER_RATES)), [f"{rate:g}" for rate in INNER_RATES])
        panel.set_xlabel("initial outer rate")
    panels[0].set_ylabel("initial inner rate")
    bar = figure.colorbar(image, ax=panels)
    bar.set_label(f"iterations to a query loss of {HALF_A_GUESS:.2f}")
    figure.savefig(path, dpi=150)


@click.command()
@click.argument("runs", type=click.Path(path_type=Path))
@click.option("--iterations", default=300, show_default=True, help="Outer iterations a cell.")
@click.option("--jobs", default=1, show_default=True, help="Runs at a time, a thread each.")
@click.option("--only-report", is_flag=True, help="Train nothing.")
def main(runs: Path, iterations: int, jobs: int, only_report: bool) -> None:
    """Train the cells that are missing in RUNS, and write table and picture."""
    cells = {
        (method, inner, outer): cell(method, inner, outer, iterations)
        for inner in INNER_RATES
        for outer in OUTER_RATES
        for method in METHODS
    }
    if not only_report:
        finish(list(cells.values()), runs, Local(jobs), click.echo)
    table = {
        method: [
            [
                iterations_to_loss(runs / cells[method, inner, outer].name / "metrics.jsonl")
                for outer in OUTER_RATES
            ]
            for inner in INNER_RATES
        ]
        for method in METHODS
    }
    found = {
        "command": cells["Alpha MAML", 0.001, 1e-5].command,
        "inner_rates": INNER_RATES,
        "outer_rates": OUTER_RATES,
        "iterations": iterations,
        "threshold": HALF_A_GUESS,
        "iterations_to_loss": table,
        "summary": summary(table, iterations),
    }
    (RESULTS / "alpha_maml.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    picture(table, iterations, RESULTS / "alpha_maml.png")
    click.echo(json.dumps(found["summary"], indent=1))


if __name__ == "__main__":
    main()
