"""Every rate scheme on harmonic regression: MAML, 10 shots, one network.

    python tools/harmonic_table.py runs/harmonic --jobs 2

Each cell is a `trainers run`; what is finished is kept. Writes docs/results/harmonic.json and
prints the table.
"""

import json
from pathlib import Path
from typing import Any

import click
from sinusoid_table import LIMITED, mean_text, median_text, outcome

from trainers import catalog
from trainers.config import Settings
from trainers.grids.cell import Cell
from trainers.grids.grid import finish
from trainers.grids.local import Local

RESULTS = Path(__file__).parent.parent / "docs" / "results" / "harmonic.json"
OWN: dict[str, Settings] = {"pamela": {"relative": True}}
"""PAMELA's Q as a factor of the rate: as the rate itself, Adam's steps are too large for it."""


def cell(scheme: str, seed: int, iterations: int) -> Cell:
    """The run of one scheme and seed."""
    return Cell(
        f"{scheme}-seed{seed}",
        {
            "dataset": "harmonic",
            "lr": scheme,
            **OWN.get(scheme, {}),
            "iterations": iterations,
            "validate_every": max(1, iterations // 4),
            "seed": seed,
            **LIMITED,
            "compile": True,
            "threads": 1,
        },
    )


def markdown(rows: list[dict[str, Any]]) -> str:
    """A table with a row a scheme."""
    lines = ["| scheme | mean squared error | median over tasks |", "|---|---|---|"]
    lines += [f"| {row['scheme']} | {mean_text(row)} | {median_text(row)} |" for row in rows]
    return "\n".join(lines)


@click.command()
@click.argument("runs", type=click.Path(path_type=Path))
@click.option("--iterations", default=10_000, show_default=True, help="Outer iterations a cell.")
@click.option("--seeds", default=3, show_default=True, help="Training seeds, from 1.")
@click.option("--jobs", default=1, show_default=True, help="Runs at a time, a thread each.")
@click.option("--only-report", is_flag=True, help="Train nothing.")
def main(runs: Path, iterations: int, seeds: int, jobs: int, only_report: bool) -> None:
    """Train the cells that are missing in RUNS, and write the table."""
    schemes = [name for name in catalog.RATE_SCHEMES if name != "none"]
    cells = {
        (scheme, seed): cell(scheme, seed, iterations)
        for seed in range(1, seeds + 1)
        for scheme in schemes
    }
    if not only_report:
        finish(list(cells.values()), runs, Local(jobs), click.echo)
    rows: list[dict[str, Any]] = [
        {
            "scheme": scheme,
            "command": cells[scheme, 1].command,
            "seeds": {seed: outcome(cells[scheme, seed], runs) for seed in range(1, seeds + 1)},
        }
        for scheme in schemes
    ]
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    click.echo(markdown(rows))


if __name__ == "__main__":
    main()
