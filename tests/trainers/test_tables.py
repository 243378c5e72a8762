"""The papers' tables: valid as data, equal to the collected figures, trained and told."""

import csv
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import Result

from episodes.errors import EpisodesError, UsageError
from tests.trainers.grid_cells import InThisProcess
from trainers import config
from trainers.interrupt import Interrupt
from trainers.progress import progress
from trainers.tables import table as tables
from trainers.tables import writing
from trainers.tables.budget import Budget, reduced
from trainers.tables.making import Request, run_name
from trainers.tables.outcome import Outcome, Seed, outcomes
from trainers.tables.quantities import QUANTITIES, Measured, iterations_to_loss
from trainers.tables.table import Figure, Table, TableCell

COLLECTED = {
    **{"miniimagenet": "miniImageNet", "tieredimagenet": "tieredImageNet", "cifar-fs": "CIFAR-FS"},
    **{
        "aircraft": "Aircraft",
        "cub": "CUB",
        "dogs": "Dogs",
        "sinusoid-frequency": "sinusoid(freq)",
    },
}
"""Our datasets' names -> those of the collection."""


@pytest.fixture(scope="module", params=tables.names())
def table(request: pytest.FixtureRequest) -> Table:
    return tables.load(request.param)


def test_every_cell_is_a_run(table: Table) -> None:
    assert len({cell.name for cell in table.cells}) == len(table.cells)
    assert table.open and table.cells
    for cell in table.cells:
        complete = config.complete(cell.settings, {"split": "own", "threads": 1})
        assert complete.iterations == cell.settings["iterations"]


@pytest.mark.real_data
def test_every_figure_is_the_collected_one(table: Table, archives: Path) -> None:
    path = archives.parent / "specs" / "paper_tables.csv"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    with path.open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if (row["source"], row["table"]) == table.csv]
    assert bool(rows) == bool(table.figures)
    if rows and rows[0]["metric"] == "parameters":
        found = [cell.paper.text for row in table.rows for cell in table.cells if cell.row == row]
        assert found == [row["value"] for row in rows]  # Printed row by row.
        return
    ours = [_key(cell) for cell in table.cells if cell.paper is not None]
    theirs = [_collected_key(row, table) for row in rows]
    assert sorted(ours) == sorted(theirs)
    for column in dict.fromkeys(key[:4] for key in ours):  # The rows come in the same order.
        assert [k for k in ours if k[:4] == column] == [k for k in theirs if k[:4] == column]


def _key(cell: TableCell) -> tuple[str, ...]:
    settings, figure = cell.settings, cell.paper
    dataset = cell.tested_on or str(settings["dataset"])
    name = cell.column if settings.get("sampler") else COLLECTED[dataset]
    network = {"40,40": "MLP 2x40", "80,80,80": "MLP 3x80"}.get(str(settings.get("hidden")), "")
    way, shot = (str(settings.get(key, "")) for key in ("way", "shot"))
    assert figure is not None
    return name, network, way, shot, *figure.text.replace(")", "").replace(" (", " ± ").split(" ± ")


def _collected_key(row: dict[str, str], table: Table) -> tuple[str, ...]:
    network = row["backbone"] if row["backbone"].startswith("MLP") else ""
    way, shot = (row[key].replace("variable", "") for key in ("way", "shot"))
    return row["dataset"], network, way, shot, row["value"], *filter(None, [row["ci95"]])


def test_what_a_paper_prints_is_read() -> None:
    assert (Figure("55.67 ± 0.97").mean, Figure("55.67 ± 0.97").interval) == (55.67, 0.97)
    assert (Figure("24.85 (0.43)").mean, Figure("24.85 (0.43)").interval) == (24.85, None)
    assert (Figure("121090").mean, Figure("121090").interval) == (121090.0, None)
    with pytest.raises(EpisodesError, match="'about 5' is no figure"):
        Figure("about 5")


SMALL = """
title = "small"
quantity = "mse"
common = ["protocol", "short"]
open = ["everything"]
[parts]
protocol = { dataset = "sinusoid", algo = "maml", hidden = "40,40", steps = 1, eval_steps = 1 }
short = { iterations = 3, val_episodes = 0, episodes = 4, shot = 5 }
fixed = { lr = "fixed" }
alfa = { lr = "alfa" }
size = { quantity = "parameters" }
[columns]
error = []
size = ["size"]
[rows]
MAML = ["fixed"]
ALFA = ["alfa"]
other = ["fixed"]
[figures]
MAML = ["9.5 ± 0.5", "1760"]
ALFA = ["-", "?"]
other = ["1 (2)", "-"]
[cannot_run]
other = "it is not here"
"""


@pytest.fixture
def small() -> Table:
    return tables.parse("small", SMALL.replace('"?"', '"2"'))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('ALFA = ["alfa"]', 'ALFA = ["beta"]', "no part is called 'beta'"),
        ('MAML = ["9.5 ± 0.5", "1760"]', 'MAML = ["9.5"]', "'MAML' needs a figure for each"),
        ('other = "it', 'another = "it', "no cell is called 'another'"),
        ("steps = 1,", "step = 1,", "unknown setting 'step': did you mean 'steps'"),
        ("open =", "opened =", "'open' is missing"),
        ("title", "= title", "not valid TOML"),
    ],
)
def test_a_file_that_is_no_table_is_refused(old: str, new: str, message: str) -> None:
    assert old in SMALL
    with pytest.raises(EpisodesError, match=f"table bad: .*{message}"):
        tables.parse("bad", SMALL.replace('"?"', '"2"').replace(old, new, 1))


def test_cells_are_chosen_by_their_names(small: Table) -> None:
    names = [cell.name for cell in small.cells]
    assert names == ["error MAML", "error other", "size MAML", "size ALFA"]
    assert [cell.name for cell in small.chosen(["*maml", "*alfa"])] == [names[0], *names[2:]]
    assert small.chosen(["*other"])[0].why_not == "it is not here"
    with pytest.raises(UsageError, match="--cells MAML: no cell of small is called so"):
        small.chosen(["MAML"])


@pytest.mark.parametrize(
    ("text", "iterations", "seconds"),
    [
        ("2000 iterations", 2000, None),
        ("90s", None, 90),
        ("30min", None, 1800),
        ("1.5 h", None, 5400),
    ],
)
def test_a_budget_is_read(text: str, iterations: int | None, seconds: float | None) -> None:
    assert Budget.of(text) == Budget(text, iterations, seconds)


@pytest.mark.parametrize("text", ["30", "0min", "-5min", "1.5 iterations", "soon"])
def test_what_is_no_budget_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--budget"):
        Budget.of(text)


def test_a_budget_in_time_is_shared_equally() -> None:
    # Two runs of 0.2 s and 0.3 s an iteration, 2 seeds: an iteration of all takes 1 s of one job.
    assert Budget.of("10min").iterations_at({"a": 0.2, "b": 0.3}, seeds=2, jobs=1) == 600
    assert Budget.of("10min").iterations_at({"a": 0.2, "b": 0.3}, seeds=2, jobs=2) == 1200
    assert Budget.of("1s").iterations_at({"a": 60.0}, seeds=1, jobs=1) == 1


def test_a_budget_takes_iterations_and_shrinks_epochs() -> None:
    assert reduced({"iterations": 50_000, "epoch": 500}, 2_000) == {"iterations": 2000, "epoch": 20}
    validated = {"iterations": 900, "validate_every": 50, "val_episodes": 6}
    assert reduced(validated, 60) == {**validated, "iterations": 60}
    assert reduced(validated, 50) == {**validated, "iterations": 50, "val_episodes": 0}
    assert reduced({"iterations": 100, "epoch": 5}, 100) == {"iterations": 100, "epoch": 5}


def outcome(paper: str | None, *means: float | None, interval: float = 0.5) -> Outcome:
    figure = None if paper is None else Figure(paper)
    cell = TableCell("c", "r", {"iterations": 9}, QUANTITIES["mse"], figure)
    seeds = [
        Seed(number, "", "", Measured(mean, interval), 9, "", {}, {}, ())
        for number, mean in enumerate(means, start=1)
    ]
    return Outcome(cell, tuple(seeds), (), 9)


def test_differences_whose_interval_has_zero_in_it_agree() -> None:
    assert outcome("2 ± 1", 3.1).verdict == "agrees"  # 1.1 ± 1.118, of 1 and 0.5.
    assert outcome("2 ± 1", 3.2).verdict == "higher"
    assert outcome("2 ± 1", 0.8).verdict == "lower"
    assert outcome("3 (9)", 3.6).verdict == "higher"  # What is in brackets is no interval.
    assert outcome("3", math.nan).verdict == "not finite"
    assert outcome(None, 3.0).verdict == outcome("3").verdict == outcome("3", None).verdict == ""
    difference = outcome("2 ± 1.2", 3.0).difference
    assert difference == (1.0, pytest.approx(1.3))


def test_the_interval_of_several_seeds_is_student_s() -> None:
    # Means 1 and 3: their deviation is sqrt(2), that of the mean 1; t is 12.706 at 1 degree.
    assert outcome(None, 1.0, 3.0).ours == (2.0, pytest.approx(12.706))
    assert outcome(None, 2.0).ours == (2.0, 0.5)
    assert outcome(None, 2.0, math.inf).ours == (math.inf, None)


def test_iterations_to_a_loss_are_counted_by_a_running_mean(tmp_path: Path) -> None:
    from trainers.run_directory import RunDirectory

    losses = [1.6] * 30 + [0.0] * 30
    lines = [json.dumps({"iteration": i, "loss": loss}) for i, loss in enumerate(losses, start=1)]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    # 0.8047 is half of ln 5: of the last 20, ten at 1.6 have a mean of 0.8.
    assert iterations_to_loss(RunDirectory(tmp_path).metrics) == 40
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines[:39]))
    assert iterations_to_loss(RunDirectory(tmp_path).metrics) is None


def made(request: Request) -> list[Outcome]:
    engine = InThisProcess()
    iterations = request.iterations(engine, print)
    failures = request.train(iterations, engine, print)
    with progress(Interrupt()) as shown:
        return outcomes(request, iterations, failures, False, shown)


def test_a_table_is_trained_once_and_told(small: Table, tmp_path: Path) -> None:
    machine = {"threads": 1}
    budget = Budget.of("1 iteration")
    request = Request(small, small.cells, tmp_path, seeds=2, budget=budget, machine=machine)
    found = made(request)
    runs = sorted(path for path in request.runs.iterdir() if path.is_dir())
    assert len(runs) == 4  # MAML and ALFA, two seeds; two columns share MAML's.
    name = run_name({**small.cells[0].settings, "iterations": 1})
    both = [request.runs / f"{name}-seed{seed}" / "results.json" for seed in (1, 2)]
    means = [json.loads(path.read_text())["test"]["mse"] for path in both]
    error, other, size, _ = found
    assert error.ours.mean == pytest.approx(sum(means) / 2)
    assert error.difference.mean == pytest.approx(sum(means) / 2 - 9.5)
    assert size.ours.mean == 2 * 40 + 41 * 40 + 41  # Weights and biases of 1-40-40-1.
    assert size.verdict == "agrees"  # Parameters are printed in tens.
    assert error.is_limited and other.seeds == ()

    written = {run: (run / "results.json").stat().st_mtime_ns for run in runs}
    again = made(request)
    assert [each.ours for each in again] == [each.ours for each in found]
    assert written == {run: (run / "results.json").stat().st_mtime_ns for run in runs}

    writing.write(request, found)
    page = (tmp_path / "small.md").read_text()
    assert "| 1 of 3 (budget) |" in page and "**Limited by a budget**: 1 iteration in" in page
    assert "- error other: it is not here" in page
    data = json.loads((tmp_path / "small.json").read_text())
    second = data["cells"][0]["seeds"][1]
    assert second["measured"]["mean"] == means[1] and second["run"] == f"runs/{name}-seed2"
    rows = list(csv.DictReader((tmp_path / "small.csv").open()))
    assert [row["paper"] for row in rows] == ["9.5", "1.0", "1760.0", "2.0"]
    assert (tmp_path / "small.png").read_bytes().startswith(b"\x89PNG")


def test_a_budget_in_time_comes_to_the_same_iterations_again(small: Table, tmp_path: Path) -> None:
    cells = tuple(small.chosen(["error MAML"]))
    machine = {"threads": 1}
    request = Request(small, cells, tmp_path, budget=Budget.of("1h"), machine=machine)
    first = request.iterations(InThisProcess(), print)
    assert first is not None and first > 20
    assert request.iterations(InThisProcess(), print) == first
    [pace] = [path for path in (tmp_path / "paces").iterdir() if path.is_dir()]
    seconds = json.loads((pace / "results.json").read_text())["seconds"]["training"]
    assert first == int(3600 / (seconds / 20))


def test_a_run_that_fails_is_told(small: Table, tmp_path: Path) -> None:
    text = SMALL.replace('"?"', '"2"').replace('lr = "alfa"', 'lr = "fixed", inner_lr = 1e30')
    table = tables.parse("small", text)
    request = Request(table, tuple(table.chosen(["*ALFA"])), tmp_path, machine={"threads": 1})
    [found] = made(request)
    assert found.ours.mean is None and "the loss is" in found.failures[0]
    assert "| failed |" in writing.markdown(request, [found])


def test_a_table_without_a_paper_has_no_columns_for_it(small: Table, tmp_path: Path) -> None:
    cell = replace(small.cells[0], paper=None)
    hardware = {"cpu": "Abacus", "cores": 2, "threads": 1, "device": "cpu"}
    seed = Seed(
        *(1, "runs/a", "trainers run", Measured(0.25, 0.5), 2, "0123456789abcdef" * 4),
        *({"training": 1.5}, hardware, ()),
    )
    page = writing.markdown(Request(small, (cell,), tmp_path), [Outcome(cell, (seed,), (), 3)])
    assert page.splitlines()[2:5] == [
        "| cell | ours | iterations |",
        "| --- | --- | --- |",
        f"| {cell.name} | 0.250 ± 0.500 | 3 |",
    ]
    assert "agrees" not in page and "paper" not in page
    assert f"| {cell.name} | 1 | 2 | 2 | `0123456789abcdef` |" in page
    assert page.count("| cell | seed |") == 1
    assert page.endswith("Hardware: Abacus, 2 cores, --threads 1, --device cpu.")


def test_tables_and_cells_are_listed(command: Callable[..., Result]) -> None:
    listed = command("table").stdout.splitlines()
    assert [line.split()[0] for line in listed] == tables.names()
    chosen = ("--cells", "*FS*MAML")
    cells = json.loads(command("table", "mlplr-1", "--list", "--json", *chosen).stdout)
    assert cells[0]["cell"] == "CIFAR-FS 5-way 1-shot MAML" and cells[0]["paper"] == "56.44 ± 0.96"
    assert cells[0]["command"].startswith("trainers run --backbone conv4 ")
    text = command("table", "alfa-1", "--list", "--cells", "*LEO").stdout
    assert "77.59 ± 0.12 %  (not run: another method" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mlpr-1",), "unknown table 'mlpr-1': did you mean 'mlplr-1'?"),
        (("alfa-8", "--cells", "4x40*"), "`trainers table alfa-8 --list` lists them"),
        (("alfa-8", "--budget", "much"), "--budget much: expected such as '30min'"),
        (("mlplr-3",), "mlplr-3 needs aircraft, cub, dogs, miniimagenet, not prepared: type `epis"),
    ],
)
def test_what_cannot_be_made_is_refused(
    command: Callable[..., Result], arguments: tuple[str, ...], message: str
) -> None:
    result = command("table", *arguments)
    assert result.exit_code == 2 and message in result.output
    assert not Path("tables").exists()
