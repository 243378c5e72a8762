"""Runs on the same episodes, compared pair by pair."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from episodes.errors import UsageError
from trainers.comparison import Difference, TestFigures, paired
from trainers.metrics import ACCURACY, MSE


def test_a_paired_difference_by_hand() -> None:
    first = TestFigures(ACCURACY, "f", np.array([0.2, 0.4, 0.6, 0.8]))
    second = TestFigures(ACCURACY, "f", np.array([0.3, 0.6, 0.7, 0.8]))
    found = paired(first, second)
    # Differences .1, .2, .1, 0: mean .1, deviation sqrt(.02 / 4).
    assert found.mean == pytest.approx(0.1)
    assert found.interval == pytest.approx(1.96 * np.sqrt(0.02 / 4) / 2)
    assert found.verdict == "higher"
    assert paired(second, first).verdict == "lower"
    assert Difference(0.1, 0.2).verdict == "no difference"
    assert Difference(np.nan, np.nan).verdict == "no difference"


@pytest.mark.parametrize("other", [("g", ACCURACY), ("f", MSE)])
def test_other_episodes_and_other_metrics_are_refused(other: tuple) -> None:
    first = TestFigures(ACCURACY, "f", np.ones(2))
    with pytest.raises(UsageError, match="tested on different episodes"):
        paired(first, TestFigures(other[1], other[0], np.ones(2)))


def test_runs_are_compared_by_command(
    train: Callable[..., Result], command: Callable[..., Result]
) -> None:
    for seed in (1, 2):
        made = train("--iterations", 2, "--seed", seed, "--out", f"seed{seed}")
        assert made.exit_code == 0, made.output
    result = command("compare", "seed1", "seed2", "--json")
    assert result.exit_code == 0, result.output
    rows = json.loads(result.output)
    means = []
    for row in rows:
        results = json.loads(Path(row["run"], "results.json").read_text())["test"]
        assert row["mean"] == results["accuracy"] and row["interval"] == results["interval"]
        means.append(row["mean"])
    assert rows[0]["difference"] == 0
    assert rows[1]["difference"] == pytest.approx(means[1] - means[0])
    table = command("compare", "seed1", "seed2").output
    assert table.count("\n") == 4 and "| seed2 |" in table


def test_what_cannot_be_compared_is_refused_in_a_line(
    train: Callable[..., Result], command: Callable[..., Result]
) -> None:
    assert train("--iterations", 1, "--out", "run").exit_code == 0
    assert "needs two runs or more" in command("compare", "run").output
    assert train("--iterations", 1, "--episode-seed", 5, "--out", "other").exit_code == 0
    assert "different episodes" in command("compare", "run", "other").output
    Path("other/test_figures.json").unlink()
    result = command("compare", "run", "other")
    assert result.exit_code == 1 and "trainers run --resume other" in result.output
