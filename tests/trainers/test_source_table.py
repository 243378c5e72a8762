"""Runs side by side on several sources, and a paper's table beside them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from trainers.ranks import Measured
from trainers.source_table import SourceTable, published

RESULTS = Path(__file__).parents[2] / "docs" / "results"
PAPER = RESULTS / "alfa_table_3.json"


def test_the_table_shows_means_intervals_and_ranks() -> None:
    cells = {
        "birds": (Measured(0.5, 0.01), Measured(0.6, 0.02)),
        "planes": (Measured(0.4, 0.05), Measured(0.41, 0.05)),
    }
    table = SourceTable(("MAML", "ALFA"), cells)
    assert table.markdown().splitlines() == [
        "| source | MAML | ALFA |",
        "|---|---|---|",
        "| birds | 50.00 ± 1.00 (2) | 60.00 ± 2.00 (1) |",
        "| planes | 40.00 ± 5.00 (1.5) | 41.00 ± 5.00 (1.5) |",
        "| mean rank | 1.75 | 1.25 |",
    ]


def test_the_published_table_is_read_as_it_is_written(tmp_path: Path) -> None:
    table = published(PAPER)
    assert len(table.cells) == 10 and len(table.methods) == 4
    assert table.cells["Omniglot"][1] == Measured(0.6789, 0.0143)
    (tmp_path / "again.json").write_text(json.dumps(table.figures()))
    assert published(tmp_path / "again.json").cells == table.cells


@pytest.mark.parametrize("path", sorted(RESULTS.glob("meta_dataset*.json")), ids=str)
def test_the_page_holds_the_table_of_its_figures(path: Path) -> None:
    page = path.with_suffix(".md").read_text(encoding="utf-8")
    assert published(path).markdown() in page and published(PAPER).markdown() in page


def test_runs_are_compared_on_sources_and_measured_once(
    command: Callable[..., Result], grey: Path, colour: Path
) -> None:
    tiny = ("--filters", 4, "--meta-batch-size", 2, "--episodes", 4, "--iterations", 1)
    both = ("--dataset", f"{grey},{colour}", "--sampler", "meta-dataset", "--val-episodes", 2)
    for algo in ("protonet", "proto-maml"):
        flags = () if algo == "protonet" else ("--lr", "fixed", "--steps", 1, "--first-order")
        result = command("run", *both, *tiny, "--algo", algo, *flags, "--threads", 1, "--out", algo)
        assert result.exit_code == 0, result.output
    compare = ("sources", "protonet", "proto-maml", "--sources", f"{grey},{colour}")
    result = command(*compare, "--episodes", 4, "--beside", PAPER)
    assert result.exit_code == 0, result.output
    assert "| source | protonet | proto-maml |" in result.stdout
    assert "| ILSVRC |" in result.stdout and "| mean rank |" in result.stdout

    written = {path: path.stat().st_mtime_ns for path in Path().glob("*/eval-*.json")}
    assert len(written) == 4
    again = command(*compare, "--episodes", 4, "--json")
    found = json.loads(again.stdout)["sources"]
    assert {path: path.stat().st_mtime_ns for path in written} == written
    of_grey = json.loads(next(p for p in written if p.name.startswith("eval-grey")).read_text())
    assert of_grey["test"]["accuracy"] in [cell["accuracy"] for cell in found[str(grey)]]
