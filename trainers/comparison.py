"""Runs on the same test episodes: the paired difference, with its interval."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from episodes.errors import EpisodesError, UsageError
from trainers import run_directory
from trainers.metrics import METRICS, Metric
from trainers.tasks.metrics import confidence_interval


@dataclass(frozen=True)
class TestFigures:
    """A run's metric on each test episode, float64 `[episodes]`, and the episodes' fingerprint."""

    __test__ = False  # What pytest takes by its name for a test.

    metric: Metric
    fingerprint: str
    figures: np.ndarray

    def to_json(self) -> bytes:
        """The text of a run's test_figures.json."""
        content = {
            "metric": self.metric.name,
            "fingerprint": self.fingerprint,
            "figures": self.figures.tolist(),
        }
        return (json.dumps(content) + "\n").encode()


@dataclass(frozen=True)
class Difference:
    """A run's mean less another's on the same episodes, and half the width of its 95 % interval."""

    mean: float
    interval: float

    @property
    def verdict(self) -> str:
        """`higher`, `lower`, or `no difference` where the interval holds 0."""
        if not abs(self.mean) > self.interval:
            return "no difference"
        return "higher" if self.mean > 0 else "lower"


def read_figures(path: Path) -> TestFigures:
    """What a run measured on its test episodes.

    Raises UsageError where there is no such run, EpisodesError where it is not finished.
    """
    directory = run_directory.find(path)
    try:
        found = json.loads(directory.test_figures.read_text(encoding="utf-8"))
        return TestFigures(
            METRICS[found["metric"]], found["fingerprint"], np.array(found["figures"], np.float64)
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EpisodesError(
            f"{directory.test_figures} cannot be read ({error}): "
            f"finish the run with `trainers run --resume {path}`"
        ) from None


def paired(reference: TestFigures, other: TestFigures) -> Difference:
    """`other` less `reference`; the interval is that of the mean of the episodes' differences.

    Raises UsageError unless both were measured on the same episodes.
    """
    if (reference.fingerprint, reference.metric) != (other.fingerprint, other.metric):
        raise UsageError(
            f"the runs were tested on different episodes ({reference.fingerprint[:12]}… and "
            f"{other.fingerprint[:12]}…): give both the same --dataset, --split, --way, --shot, "
            "--query, --episodes and --episode-seed"
        )
    differences = other.figures - reference.figures
    return Difference(float(differences.mean()), confidence_interval(differences))


def compare(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """A row a run: its mean and interval, and its difference from the first run."""
    if len(paths) < 2:
        raise UsageError("compare needs two runs or more: trainers compare RUN RUN")
    figures = list(map(read_figures, paths))
    rows = []
    for path, found in zip(paths, figures, strict=True):
        difference = paired(figures[0], found)
        rows.append(
            {
                "run": str(path),
                "metric": found.metric.name,
                "mean": float(found.figures.mean()),
                "interval": confidence_interval(found.figures),
                "difference": difference.mean,
                "difference_interval": difference.interval,
                "verdict": difference.verdict,
            }
        )
    return rows


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The rows of `compare` as a table."""
    metric = METRICS[rows[0]["metric"]]
    lines = [f"| run | {metric.name} | less the first |  |", "|---|---|---|---|"]
    for number, row in enumerate(rows):
        difference = metric.text(row["difference"], row["difference_interval"])
        cells = ("", "") if number == 0 else (difference, row["verdict"])
        mean = metric.text(row["mean"], row["interval"])
        lines.append(f"| {row['run']} | {mean} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)
