"""ALFA's table 8 beside ours: rate schemes on sine waves, two networks, three shots.

    python tools/sinusoid_table.py runs/sinusoid --jobs 2

Each cell is a `trainers run` in a directory of its own: what is finished is kept, what was
interrupted goes on. Writes docs/results/sinusoid.json and prints the tables.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np

from trainers.config import Settings
from trainers.grids.cell import Cell
from trainers.grids.grid import finish
from trainers.grids.local import Local

RESULTS = Path(__file__).parent.parent / "docs" / "results" / "sinusoid.json"
NETWORKS = {"2x40": "40,40", "3x80": "80,80,80"}
SHOTS = (5, 10, 20)
SCHEMES: dict[str, Settings] = {
    "MAML": {"lr": "fixed"},
    "ALFA + MAML": {"lr": "alfa"},
    "PAMELA": {"lr": "pamela", "relative": True},
    "Meta-SGD": {"lr": "meta-sgd"},
    "LSLR": {"lr": "lslr"},
    "personalized": {"lr": "personalized"},
}
LIMITED: Settings = {"grad_clip": 10.0, "skip_diverged": 1000}
"""What keeps single tasks whose loss explodes from ending a run."""
PAPER = {
    ("2x40", "MAML"): ((1.24, 0.21), (0.75, 0.15), (0.49, 0.11)),
    ("2x40", "ALFA + MAML"): ((0.92, 0.19), (0.62, 0.16), (0.34, 0.07)),
    ("3x80", "MAML"): ((0.84, 0.14), (0.56, 0.09), (0.33, 0.06)),
    ("3x80", "ALFA + MAML"): ((0.70, 0.15), (0.51, 0.10), (0.25, 0.06)),
}
"""Mean squared errors at 5, 10 and 20 shots, and intervals (Baik et al. 2020, table 8)."""


def cell(network: str, shot: int, scheme: str, seed: int, iterations: int) -> Cell:
    """The run of one cell."""
    return Cell(
        f"{scheme.lower().replace(' + ', '-')}-{network}-{shot}shot-seed{seed}",
        {
            "dataset": "sinusoid-frequency",
            "shot": shot,
            **SCHEMES[scheme],
            "hidden": NETWORKS[network],
            "iterations": iterations,
            "validate_every": max(1, iterations // 4),
            "seed": seed,
            **LIMITED,
            "compile": True,
            "threads": 1,
        },
    )


def outcome(cell: Cell, runs: Path) -> dict[str, Any]:
    """A cell's result, or why it has none."""
    results = runs / cell.name / "results.json"
    if not results.exists():
        return {"unfinished": cell.last_line(runs)}
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


def mean_text(row: dict[str, Any]) -> str:
    """A row's error: the mean of its seeds with that of their intervals, and the seeds' range."""
    done = [found for found in row["seeds"].values() if "mse" in found]
    if not done:
        return "-"
    errors = [found["mse"] for found in done]
    text = " ± ".join(map(number, (np.mean(errors), np.mean([f["interval"] for f in done]))))
    return f"{text} ({number(min(errors))} to {number(max(errors))})" if len(done) > 1 else text


def median_text(row: dict[str, Any]) -> str:
    """The seeds' mean of the median over tasks, and how many tasks of all seeds diverged."""
    done = [found for found in row["seeds"].values() if "mse" in found]
    if not done:
        return "-"
    diverged = sum(found["diverged"] for found in done)
    text = number(np.mean([found["median"] for found in done]))
    return f"{text}, {diverged} diverged" if diverged else text


def number(figure: float) -> str:
    """Three decimals, where they mean something."""
    return f"{figure:.3f}" if figure < 100 else f"{figure:.0e}"


def markdown(rows: list[dict[str, Any]], text: Callable[[dict[str, Any]], str]) -> str:
    """A table with a row a network and scheme, and the paper's beside means."""
    lines = ["| network | scheme | 5 shots | 10 shots | 20 shots |", "|---|---|---|---|---|"]
    for network in NETWORKS:
        for scheme in SCHEMES:
            chosen = [row for row in rows if (row["network"], row["scheme"]) == (network, scheme)]
            lines.append(f"| {network} | {scheme} | {' | '.join(map(text, chosen))} |")
            if text is mean_text and (network, scheme) in PAPER:
                paper = " | ".join(f"{m:.2f} ± {i:.2f}" for m, i in PAPER[network, scheme])
                lines.append(f"| {network} | {scheme}, the paper | {paper} |")
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
        finish(list(cells.values()), runs, Local(jobs), click.echo)
    for i, row in enumerate(rows):
        row["command"] = cells[i, 1].command
        row["seeds"] = {seed: outcome(cells[i, seed], runs) for seed in numbers}
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    click.echo(f"{markdown(rows, mean_text)}\n\n{markdown(rows, median_text)}")


if __name__ == "__main__":
    main()
