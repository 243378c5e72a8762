"""The tools that make the tables of docs/results: what they read out of runs."""

import json
from pathlib import Path

import alpha_maml_grid
import harmonic_table
import numpy as np
import pytest
import sampler_study
import sinusoid_table

from tests.trainers.grid_cells import InThisProcess
from trainers.comparison import TestFigures
from trainers.grids.cell import Cell
from trainers.grids.grid import finish
from trainers.metrics import ACCURACY, METRICS

RESULTS = Path(__file__).parent.parent / "docs" / "results"
TINY = {"dataset": "sinusoid", "iterations": 2, "val_episodes": 2, "episodes": 2, "lr": "fixed"}


def write_metrics(path: Path, losses: list[float]) -> Path:
    lines = [json.dumps({"iteration": i + 1, "loss": loss}) for i, loss in enumerate(losses)]
    path.write_text("\n".join([*lines, json.dumps({"iteration": 9, "validation_accuracy": 0.5})]))
    return path


def test_the_first_iteration_whose_average_loss_is_low_enough(tmp_path: Path) -> None:
    losses = [2.0] * 30 + [0.0] * 30
    # The mean of 20 is at most 0.805 once at least 12 of them are 0: at iteration 42 (12/20 of 2.0
    # gone leaves 0.8), not at 41 (0.9).
    found = alpha_maml_grid.iterations_to_loss(write_metrics(tmp_path / "m", losses))
    assert found == 42


@pytest.mark.parametrize("losses", [[2.0] * 60, [0.0] * 19])
def test_a_loss_that_is_not_reached_has_no_iteration(losses: list[float], tmp_path: Path) -> None:
    metrics = write_metrics(tmp_path / "m", losses)
    assert alpha_maml_grid.iterations_to_loss(metrics) is None


def test_summary_of_a_grid_by_hand() -> None:
    table = {"MAML": [[100, None], [50, 200]], "Alpha MAML": [[50, 150], [60, 200]]}
    found = alpha_maml_grid.summary(table, iterations=300)
    assert found["reached"] == {"MAML": 3, "Alpha MAML": 4}
    assert found["median_ratio"] == pytest.approx(0.75)  # of 0.5, 0.5, 1.2 and 1.0
    assert found["slower"] == 1
    logs = np.log([100, 300, 50, 200])
    assert found["spread_of_log_iterations"]["MAML"] == pytest.approx(logs.std())


def test_the_picture_of_a_grid_is_drawn(tmp_path: Path) -> None:
    rows = [[100, None, 30, 300] for _ in alpha_maml_grid.INNER_RATES]
    alpha_maml_grid.picture({"MAML": rows, "Alpha MAML": rows}, 300, tmp_path / "grid.png")
    assert (tmp_path / "grid.png").read_bytes().startswith(b"\x89PNG")


def test_differences_of_a_study_by_hand() -> None:
    def of(*figures: float) -> TestFigures:
        return TestFigures(ACCURACY, "f", np.array(figures))

    arms = {"base": [of(0.5, 0.7), of(0.6, 0.6)], "other": [of(0.7, 0.8), of(0.6, 0.8)]}
    base, other = sampler_study.summary(arms)
    assert base["difference"] == 0 and base["means"] == pytest.approx([0.6, 0.6])
    # Episode by episode, the mean of the seeds: (.2 + 0) / 2 and (.1 + .2) / 2.
    assert other["difference"] == pytest.approx(0.125)
    assert other["interval"] == pytest.approx(1.96 * 0.025 / np.sqrt(2))
    assert other["by_seed"] == pytest.approx([0.15, 0.1])
    table = sampler_study.markdown("p", ACCURACY, [base, other]).splitlines()
    assert table[-1] == "| other | 72.50 % | **12.50 ± 3.46 %** | 15.00 %, 10.00 % |"


SEEDS = {
    1: {"mse": 0.5, "interval": 0.1, "median": 0.2, "diverged": 0},
    2: {"mse": 2e20, "interval": 3e20, "median": 0.3, "diverged": 2},
    3: {"unfinished": ""},
}


def test_a_cell_of_the_table_shows_means_and_seeds() -> None:
    assert sinusoid_table.mean_text({"seeds": SEEDS}) == "1e+20 ± 2e+20 (0.500 to 2e+20)"
    assert sinusoid_table.mean_text({"seeds": {1: SEEDS[1]}}) == "0.500 ± 0.100"
    assert sinusoid_table.mean_text({"seeds": {3: SEEDS[3]}}) == "-"
    assert sinusoid_table.median_text({"seeds": SEEDS}) == "0.250, 2 diverged"
    assert sinusoid_table.median_text({"seeds": {3: SEEDS[3]}}) == "-"


@pytest.mark.parametrize(
    "name", [name for name in ("sinusoid", "harmonic") if (RESULTS / f"{name}.json").exists()]
)
def test_the_pages_hold_the_tables_of_their_figures(name: str) -> None:
    rows = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    tables = (
        [harmonic_table.markdown(rows)]
        if name == "harmonic"
        else [
            sinusoid_table.markdown(rows, text)
            for text in (sinusoid_table.mean_text, sinusoid_table.median_text)
        ]
    )
    page = (RESULTS / f"{name}.md").read_text(encoding="utf-8")
    assert all(table in page for table in tables)
    assert all(found.keys() >= {"mse"} for row in rows for found in row["seeds"].values())


def test_every_cell_has_a_name_of_its_own() -> None:
    cells = {
        sinusoid_table.cell(network, shot, scheme, seed, 10).name
        for network in sinusoid_table.NETWORKS
        for shot in sinusoid_table.SHOTS
        for scheme in sinusoid_table.SCHEMES
        for seed in (1, 2)
    }
    assert len(cells) == 2 * 3 * 6 * 2


def test_a_cell_s_outcome_is_its_result_or_why_it_has_none(tmp_path: Path) -> None:
    good, bad = Cell("good", TINY), Cell("bad", {**TINY, "inner_lr": 1e30})
    finish([good, bad], tmp_path, InThisProcess(), print)
    assert sinusoid_table.outcome(good, tmp_path)["mse"] > 0
    assert "the loss is nan" in sinusoid_table.outcome(bad, tmp_path)["unfinished"]


def test_the_study_s_page_holds_its_tables() -> None:
    found = json.loads((RESULTS / "sampler_study.json").read_text(encoding="utf-8"))
    page = (RESULTS / "sampler_study.md").read_text(encoding="utf-8")
    for problem, measured in found.items():
        metric = METRICS[measured["metric"]]
        assert sampler_study.markdown(problem, metric, measured["arms"]) in page
