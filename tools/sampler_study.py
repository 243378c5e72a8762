"""TRLearner with its controls, and every sampler, beside the base learner: paired differences.

    python tools/sampler_study.py runs/study --jobs 2

Each cell is a `trainers run`; what is finished is kept. Writes docs/results/sampler_study.json and
prints the tables.
"""

import json
from pathlib import Path
from typing import Any

import click
import numpy as np

from trainers.comparison import TestFigures, read_figures
from trainers.config import Settings
from trainers.grids.cell import Cell
from trainers.grids.grid import finish
from trainers.grids.local import Local
from trainers.metrics import Metric
from trainers.tasks.metrics import confidence_interval

RESULTS = Path(__file__).parent.parent / "docs" / "results" / "sampler_study.json"
BASE = "base"
TRLEARNER: Settings = {"regularizer": "trlearner"}
ADAPTIVE: Settings = {"sampler": "adaptive", "sampler_lr": 0.01}

ARMS: dict[str, Settings] = {
    BASE: {},
    "TRLearner": TRLEARNER,
    "TRLearner, all relations 1": {**TRLEARNER, "trlearner_relation": "uniform"},
    "TRLearner, relations shuffled": {**TRLEARNER, "trlearner_relation": "shuffled"},
    "adaptive, weighting": ADAPTIVE,
    "adaptive, choosing": {**ADAPTIVE, "sampler_mode": "sampling"},
    "adaptive + TRLearner": {**ADAPTIVE, **TRLEARNER},
    "NDT": {"sampler": "ndt"},
    "NDB": {"sampler": "ndb"},
    "NDTB": {"sampler": "ndtb"},
    "single batch": {"sampler": "single-batch"},
    "fixed pool": {"sampler": "fixed-pool"},
    "OHTM": {"sampler": "ohtm"},
    "OWHTM": {"sampler": "owhtm"},
    "s-DPP": {"sampler": "s-dpp"},
    "d-DPP": {"sampler": "d-dpp"},
}
FEW = [BASE, "TRLearner", "TRLearner, all relations 1", "adaptive, weighting"]
FUNCTIONS = [*FEW, "TRLearner, relations shuffled", "adaptive, choosing", "NDT", "OHTM"]
OF_ANIL = [*FUNCTIONS, "adaptive + TRLearner", "NDB"]

OMNIGLOT: Settings = {
    "dataset": "omniglot",
    "filters": 16,
    "query": 5,
    "val_episodes": 100,
    "episodes": 600,
    "threads": 1,
    "bn": "batch",
}
FIXED: Settings = {"lr": "fixed", "inner_lr": 0.1, "eval_steps": 5}
SINE: Settings = {"grad_clip": 10.0, "skip_diverged": 1000, "threads": 1}
PROBLEMS: dict[str, Settings] = {
    "Omniglot 5-way 1-shot, ANIL": {**OMNIGLOT, "algo": "anil", **FIXED},
    "Omniglot 5-way 1-shot, MAML": {**OMNIGLOT, "algo": "maml", **FIXED},
    "sinusoid 10-shot, MAML": {"dataset": "sinusoid", **SINE},
}
ITERATIONS = dict(zip(PROBLEMS, (500, 200, 2000), strict=True))
ARMS_OF = dict(zip(PROBLEMS, (OF_ANIL, FEW, FUNCTIONS), strict=True))
"""What is run unless all arms are asked for; functions have no classes for the DPPs to choose."""


def cell(problem: str, arm: str, seed: int, runs: Path, scale: float = 1.0) -> Cell:
    """The run of one arm and seed."""
    own = dict(ARMS[arm])
    if arm == "s-DPP":
        own["dpp_run"] = str(runs / prototypes(runs, scale).name)
    name = f"{problem}, {arm}".replace(", ", "-").replace(" ", "-").lower()
    iterations = max(1, round(scale * ITERATIONS[problem]))
    common = {"iterations": iterations, "validate_every": max(1, iterations // 4), "seed": seed}
    return Cell(f"{name}-seed{seed}", {**PROBLEMS[problem], **own, **common})


def prototypes(runs: Path, scale: float = 1.0) -> Cell:
    """The ProtoNet whose features s-DPP takes."""
    iterations = max(1, round(scale * next(iter(ITERATIONS.values()))))
    common = {"iterations": iterations, "validate_every": iterations}
    return Cell("protonet", {"algo": "protonet", **OMNIGLOT, **common})


def arms_of(problem: str, all_arms: bool = False) -> list[str]:
    """The arms that are run."""
    if not all_arms:
        return ARMS_OF[problem]
    has_classes = problem.startswith("Omniglot")
    return [arm for arm in ARMS if has_classes or arm not in ("s-DPP", "d-DPP")]


def summary(arms: dict[str, list[TestFigures]]) -> list[dict[str, Any]]:
    """A row an arm: means of the seeds, and the difference from the base on the same episodes.

    An episode's difference is the mean over the seeds; the interval is over episodes. Of errors
    the medians are compared with the mean beside them, because a task can diverge.
    """
    base = np.stack([found.figures for found in arms[BASE]])
    rows = []
    for arm, seeds in arms.items():
        figures = np.stack([found.figures for found in seeds])
        count = min(len(base), len(figures))
        differences = (figures[:count] - base[:count]).mean(0)
        rows.append(
            {
                "arm": arm,
                "means": [float(mean) for mean in figures.mean(1)],
                "median": float(np.mean(np.median(figures, axis=1))),
                "difference": float(differences.mean()),
                "interval": confidence_interval(differences),
                "by_seed": [float(d) for d in (figures[:count] - base[:count]).mean(1)],
            }
        )
    return rows


def markdown(problem: str, metric: Metric, rows: list[dict[str, Any]]) -> str:
    """A problem's table."""
    lines = [
        f"| {problem} | mean of the seeds | less the base | by seed |",
        "|---|---|---|---|",
    ]
    for row in rows:
        by_seed = ", ".join(metric.text(difference) for difference in row["by_seed"])
        difference = metric.text(row["difference"], row["interval"])
        is_clear = abs(row["difference"]) > row["interval"]
        cells = ("", "") if row["arm"] == BASE else (difference, by_seed)
        marked = f"**{cells[0]}**" if is_clear and cells[0] else cells[0]
        mean = metric.text(float(np.mean(row["means"])))
        lines.append(f"| {row['arm']} | {mean} | {marked} | {cells[1]} |")
    return "\n".join(lines)


@click.command()
@click.argument("runs", type=click.Path(path_type=Path))
@click.option("--seeds", default=3, show_default=True, help="Training seeds, from 1.")
@click.option("--jobs", default=1, show_default=True, help="Runs at a time, a thread each.")
@click.option("--all-arms", is_flag=True, help="Every sampler on every problem.")
@click.option("--scale", default=1.0, show_default=True, help="Of the iterations.")
@click.option("--only-report", is_flag=True, help="Train nothing.")
def main(
    runs: Path, seeds: int, jobs: int, all_arms: bool, scale: float, only_report: bool
) -> None:
    """Train the cells that are missing in RUNS, and write the tables."""
    numbers = range(1, seeds + 1)
    cells = {
        (problem, arm, seed): cell(problem, arm, seed, runs, scale)
        for problem in PROBLEMS
        for seed in numbers
        for arm in arms_of(problem, all_arms)
    }
    if not only_report:
        if all_arms:
            finish([prototypes(runs, scale)], runs, Local(), click.echo)
        finish(list(cells.values()), runs, Local(jobs), click.echo)
    found: dict[str, Any] = {}
    for problem in PROBLEMS:
        measured = {
            arm: [
                read_figures(runs / cells[problem, arm, seed].name)
                for seed in numbers
                if (runs / cells[problem, arm, seed].name / "results.json").exists()
            ]
            for arm in arms_of(problem, all_arms)
        }
        arms = {arm: seeds_done for arm, seeds_done in measured.items() if seeds_done}
        if BASE not in arms:
            continue
        rows = summary(arms)
        for row in rows:
            row["command"] = cells[problem, row["arm"], 1].command
        metric, fingerprint = arms[BASE][0].metric, arms[BASE][0].fingerprint
        found[problem] = {"metric": metric.name, "fingerprint": fingerprint, "arms": rows}
        click.echo(f"{markdown(problem, metric, rows)}\n")
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
