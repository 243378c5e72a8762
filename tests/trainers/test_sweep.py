"""`trainers sweep`: what is varied, what the runs are called, and the table of what they found."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from episodes.errors import UsageError
from tests.trainers.grid_cells import TINY
from trainers.comparison import TestFigures
from trainers.grids import sweep_table
from trainers.grids.cell import Cell
from trainers.grids.sweep import Sweep, variations
from trainers.metrics import ACCURACY

FLAGS = Cell("tiny", TINY).flags


def test_values_have_the_types_of_their_settings() -> None:
    texts = ["shot=1,5", "inner-lr=0.01, 1", "first_order=true,no", "hidden=40,40;80", "lr=alfa"]
    assert variations(texts) == {
        "shot": (1, 5),
        "inner_lr": (0.01, 1.0),
        "first_order": (True, False),
        "hidden": ("40,40", "80"),
        "lr": ("alfa",),
    }
    assert type(variations(["inner-lr=1"])["inner_lr"][0]) is float


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("shots=1,5", "unknown setting 'shots': did you mean 'shot'"),
        ("lr=fixed,alpha", "unknown rate scheme 'alpha': did you mean 'alfa'"),
        ("bn=batches", "unknown value of --bn 'batches': did you mean 'batch'"),
        ("shot=1,two", "--shot two: 'two' is not a valid integer"),
        ("shot=0", "--shot 0: expected at least 1"),
        ("shot=1,,5", "--shot : '' is not a valid integer"),
        ("inner-lr=inf", "expected a finite number"),
        ("shot", "--vary shot: expected SETTING=VALUE,VALUE,..."),
        ("shot=5,5", "a value is there twice"),
        ("hidden=40,40", "between values that have commas put semicolons"),
    ],
)
def test_what_cannot_be_varied_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError) as refused:
        variations([text])
    assert message in str(refused.value)


def test_a_setting_is_varied_once_and_not_given_as_well() -> None:
    with pytest.raises(UsageError, match="inner_lr is varied twice"):
        variations(["inner-lr=1", "inner_lr=2"])
    with pytest.raises(UsageError, match="--shot is given, and varied by --vary"):
        Sweep({"shot": 1}, {"shot": (1, 5)})
    with pytest.raises(UsageError, match="use --seeds N"):
        Sweep({}, {"seed": (1, 2)})


def test_every_combination_has_a_cell_a_seed() -> None:
    sweep = Sweep({"algo": "maml", "seed": 3}, {"lr": ("fixed", "alfa"), "inner_lr": (0.1,)}, 2)
    cells = [cell for settings in sweep.combinations() for cell in sweep.cells(settings)]
    assert [cell.name for cell in cells] == [
        "lr=fixed,inner-lr=0.1,seed=3",
        "lr=fixed,inner-lr=0.1,seed=4",
        "lr=alfa,inner-lr=0.1,seed=3",
        "lr=alfa,inner-lr=0.1,seed=4",
    ]
    assert cells[-1].settings == {"algo": "maml", "seed": 4, "lr": "alfa", "inner_lr": 0.1}
    [only] = Sweep({}, {"dataset": ("/my/a store",), "compile": (False,)}).cells(
        {"dataset": "/my/a store", "compile": False}
    )
    assert only.name == "dataset=my-a-store,compile=false,seed=1"


def write_run(directory: Path, *figures: float) -> None:
    directory.mkdir()
    (directory / "config.toml").write_text("")
    content = TestFigures(ACCURACY, "f", np.array(figures)).to_json()
    (directory / "test_figures.json").write_bytes(content)


def test_the_table_by_hand(tmp_path: Path) -> None:
    write_run(tmp_path / "shot=1,seed=1", 0.2, 0.4)
    write_run(tmp_path / "shot=1,seed=2", 0.4, 0.8)
    write_run(tmp_path / "shot=5,seed=2", 0.5, 0.5)
    sweep = Sweep({}, {"shot": (1, 5, 9)}, 2)
    failures = {"shot=5,seed=1": "the loss is nan", "shot=9,seed=1": "x", "shot=9,seed=2": "y"}
    rows = sweep_table.rows(sweep, tmp_path, failures)
    # Episode by episode the seeds' means are 0.3 and 0.6: standard deviation 0.15.
    assert rows[0]["mean"] == pytest.approx(0.45)
    assert rows[0]["interval"] == pytest.approx(1.96 * 0.15 / np.sqrt(2))
    assert [run["mean"] for run in rows[0]["runs"]] == pytest.approx([0.3, 0.6])
    assert rows[1]["mean"] == 0.5 and rows[1]["runs"][0]["failure"] == "the loss is nan"
    assert rows[2]["mean"] is None
    assert sweep_table.markdown(sweep, rows).splitlines() == [
        "| shot | mean and interval | by seed |",
        "|---|---|---|",
        "| 1 | accuracy 45.00 ± 20.79 % | 30.00 %, 60.00 % |",
        "| 5 | accuracy 50.00 ± 0.00 % | failed, 50.00 % |",
        "| 9 | - | failed, failed |",
        "",
        "shot=5,seed=1 failed: the loss is nan",
        "",
        "shot=9,seed=1 failed: x",
        "",
        "shot=9,seed=2 failed: y",
    ]
    sweep_table.write(sweep, rows, tmp_path)
    lines = list(csv.DictReader((tmp_path / "sweep.csv").open()))
    assert [line["run"] for line in lines][:2] == ["shot=1,seed=1", "shot=1,seed=2"]
    assert float(lines[1]["mean"]) == pytest.approx(0.6) and lines[2]["mean"] == ""
    assert json.loads((tmp_path / "sweep.json").read_text()) == rows


def test_a_sweep_over_finished_runs_is_their_table(command: Callable[..., Result]) -> None:
    for shot in (5, 6):
        run = command("run", *FLAGS, "--shot", shot, "--out", f"grid/shot={shot},seed=1")
        assert run.exit_code == 0, run.output
    sweep = ("sweep", *FLAGS, "--vary", "shot=5,6", "--out", "grid")
    result = command(*sweep)
    assert result.exit_code == 0, result.output
    assert "2 of 2 cells are finished already" in result.stderr
    assert result.stdout == Path("grid/sweep.md").read_text()
    rows = json.loads(command(*sweep, "--json").stdout)
    for shot, row in zip((5, 6), rows, strict=True):
        test = json.loads(Path(f"grid/shot={shot},seed=1/results.json").read_text())["test"]
        assert (row["mean"], row["interval"]) == pytest.approx((test["mse"], test["interval"]))
    refused = command(*sweep, "--outer-lr", 0.1)
    assert refused.exit_code == 2
    assert "shot=5,seed=1: its directory was begun with other settings" in refused.stderr
    assert "found --outer-lr 0.1 (recorded: --outer-lr 0.001)" in refused.stderr


@pytest.mark.slow
def test_a_sweep_with_a_failed_cell_ends_with_1(command: Callable[..., Result]) -> None:
    sweep = ("sweep", *FLAGS, "--vary", "inner-lr=0.01,1e30", "--jobs", 2, "--out", "grid")
    result = command(*sweep)
    assert result.exit_code == 1
    assert "error: 1 of 2 cells failed" in result.stderr
    rows = json.loads(Path("grid/sweep.json").read_text())
    assert rows[0]["mean"] > 0 and "the loss is nan" in rows[1]["runs"][0]["failure"]


def test_an_address_is_ray_s(command: Callable[..., Result]) -> None:
    for flags in ((), ("--engine", "ray", "--jobs", 2)):
        result = command("sweep", *FLAGS, *flags, "--address", "auto", "--out", "grid")
        assert result.exit_code == 2 and "--address is that of a Ray cluster" in result.stderr
