"""ALFA's table 8 beside ours: rate schemes on sine waves, two networks, three shots.

    python tools/sinusoid_table.py runs/sinusoid --jobs 2

Each cell is a `trainers run` in a directory of its own: what is finished is kept, what was
interrupted goes on. Writes docs/results/sinusoid.json and prints the table.
"""

import json
from pathlib import Path
from typing import Any

import click
import numpy as np
from run_cells import Cell, end_of_log, run_cells

RESULTS = Path(__file__).parent.parent / "docs" / "results" / "sinusoid.json"
NETWORKS = {"2x40": "40,40", "3x80": "80,80,80"}
SHOTS = (5, 10, 20)
SCHEMES = {
    "MAML": ("--lr", "fixed"),
    "ALFA + MAML": ("--lr", "alfa"),
    "PAMELA": ("--lr", "pamela", "--relative"),
    "Meta-SGD": ("--lr", "meta-sgd"),
    "LSLR": ("--lr", "lslr"),
    "personalized": ("--lr", "personalized"),
}
PAPER = {
    ("2x40", "MAML"): (1.24, 0.75, 0.49),
    ("2x40", "ALFA + MAML"): (0.92, 0.62, 0.34),
    ("3x80", "MAML"): (0.84, 0.56, 0.33),
    ("3x80", "ALFA + MAML"): (0.70, 0.51, 0.25),
}
"""Mean squared errors at 5, 10 and 20 shots (Baik et al. 2020, table 8)."""


def cell(network: str, shot: int, scheme: str, seed: int, iterations: int) -> Cell:
    """The run of one cell."""
    return Cell(
        f"{scheme.lower().replace(' + ', '-')}-{network}-{shot}shot-seed{seed}",
        (
            *("--dataset", "sinusoid-frequency", "--shot", str(shot), *SCHEMES[scheme]),
            *("--hidden", NETWORKS[network], "--iterations", str(iterations)),
            *("--validate-every", str(max(1, iterations // 4)), "--seed", str(seed)),
            *("--grad-clip", "10", "--skip-diverged", "1000", "--compile", "--threads", "1"),
        ),
    )


def outcome(cell: Cell, runs: Path) -> dict[str, Any]:
    """A cell's result, or why it has none."""
    results = runs / cell.name / "results.json"
    if not results.exists():
        return {"unfinished": end_of_log(cell, runs)}
    found = json.loads(results.read_text(encoding="utf-8"))
    return {
        "mse": found["test"]["mse"],
        "interval": found["test"]["interval"],
        "median": found["test"]["median"],
        "diverged": found["test"]["diverged"],
        "iteration": found["checkpoint"]["iteration"],
        "skipped": found["skipped"],
        "seconds": found["seconds"]["training"],
        "fingerprint": found["test"]["fingerprint"],
    }


def text(row: dict[str, Any]) -> str:
    """A row's figures as the table prints them: the seeds' mean, and from which to which."""
    done = [found["mse"] for found in row["seeds"].values() if "mse" in found]
    if not done:
        return "-"
    spread = f" ({min(done):.3f} to {max(done):.3f})" if len(done) > 1 else ""
    return f"{np.mean(done):.3f}{spread}"


def markdown(rows: list[dict[str, Any]]) -> str:
    """The table, a row a network and scheme."""
    lines = [
        "| network | scheme | 5 shots | 10 shots | 20 shots | paper |",
        "|---|---|---|---|---|---|",
    ]
    for network in NETWORKS:
        for scheme in SCHEMES:
            chosen = [row for row in rows if (row["network"], row["scheme"]) == (network, scheme)]
            paper = " / ".join(f"{figure:.2f}" for figure in PAPER.get((network, scheme), ()))
            figures = " | ".join(map(text, chosen))
            lines.append(f"| {network} | {scheme} | {figures} | {paper} |")
    return "\n".join(lines)


@click.command()
@click.argument("runs", type=click.Path(path_type=Path))
@click.option("--iterations", default=20_000, show_default=True, help="Outer iterations a cell.")
@click.option("--seeds", default=3, show_default=True, help="Training seeds, from 1.")
@click.option("--jobs", default=1, show_default=True, help="Runs at a time, a thread each.")
@click.option("--only-report", is_flag=True, help="Train nothing.")
def main(runs: Path, iterations: int, seeds: int, jobs: int, only_report: bool) -> None:
    """Train the cells of ALFA's table 8 that are missing in RUNS, and write the table."""
    rows: list[dict[str, Any]] = [
        {"network": network, "shot": shot, "scheme": scheme}
        for network in NETWORKS
        for scheme in SCHEMES
        for shot in SHOTS
    ]
    numbers = range(1, seeds + 1)
    cells = {
        (i, seed): cell(**row, seed=seed, iterations=iterations)
        for seed in numbers
        for i, row in enumerate(rows)
    }
    if not only_report:
        run_cells(list(cells.values()), runs, jobs, click.echo)
    for i, row in enumerate(rows):
        row["command"] = "trainers run " + " ".join(cells[i, 1].command)
        row["seeds"] = {seed: outcome(cells[i, seed], runs) for seed in numbers}
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    click.echo(markdown(rows))


if __name__ == "__main__":
    main()
