"""The published results are those of the commands beside them."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from trainers import cli, config
from trainers.options import given_settings
from trainers.tables import table
from trainers.tables.budget import reduced

FOLDER = Path(__file__).parent.parent / "docs" / "results"
TABLES = sorted((FOLDER / "tables").glob("*.json"))
OTHER_TABLES = (
    "alfa_table_3",
    "alpha_maml",
    "harmonic",
    "lake",
    "meta_dataset",
    "sampler_study",
    "sinusoid",
    "streaming",
    "training",
)
RESULTS = [
    pytest.param(result, id=f"{path.stem}-{number}")
    for path in sorted(FOLDER.glob("*.json"))
    if path.stem not in OTHER_TABLES
    for number, result in enumerate(json.loads(path.read_text(encoding="utf-8")))
]


@pytest.mark.parametrize("result", RESULTS)
def test_the_command_gives_the_recorded_settings(result: dict[str, Any]) -> None:
    program, verb, *arguments = shlex.split(result["command"])
    assert (program, verb) == ("trainers", "run")
    parsed = cli.run.make_context("run", arguments).params
    recorded = result["config"]
    completed = config.complete(given_settings(parsed), {"split": recorded["split"]})
    # What a later version added has its default, which is what the run was made with.
    assert completed == config.complete(recorded, {})


@pytest.mark.parametrize("result", RESULTS)
def test_the_page_shows_the_result(result: dict[str, Any]) -> None:
    pages = "".join(page.read_text(encoding="utf-8") for page in FOLDER.glob("*.md"))
    test = result["test"]
    assert f"{100 * test['accuracy']:.2f} ± {100 * test['interval']:.2f}" in pages
    assert test["fingerprint"] in pages
    assert result["command"] in pages


def test_the_page_of_lake_s_runs_has_what_was_measured() -> None:
    page = (FOLDER.parent / "lake.md").read_text(encoding="utf-8").replace("\n", " ")
    measured = json.loads((FOLDER / "lake.json").read_text(encoding="utf-8"))
    for bn in ("batch", "support"):
        error, figure = 100 * measured[bn]["error"], measured[bn]
        mean = f"{100 * figure['accuracy']:.2f} ± {100 * figure['interval']:.2f} %"
        assert re.search(rf"`--bn {bn}` \| {error:.2f} % \| {mean} \|", page)
    assert measured["batch"]["right"] == round(400 * sum(measured["batch"]["runs"].values()) / 20)
    test, seconds = measured["episodes"]["test"], measured["episodes"]["seconds"]["training"]
    accuracy = f"{100 * test['accuracy']:.2f} ± {100 * test['interval']:.2f} %"
    assert f"error of {100 * (1 - test['accuracy']):.2f} %: {accuracy}" in page
    assert f"{seconds:.0f} seconds of training" in page and measured["command"] in page


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_a_table_of_ours_is_of_its_protocol(path: Path) -> None:
    cells = {cell.name: cell for cell in table.load(path.stem).cells}
    page = path.with_suffix(".md").read_text(encoding="utf-8")
    measured = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert measured and path.with_suffix(".png").is_file()
    for row in measured:
        cell = cells[row["cell"]]
        settings = reduced(cell.settings, row["iterations"])
        for seed in row["seeds"]:
            parsed = cli.run.make_context("run", shlex.split(seed["command"])[2:]).params
            given = given_settings(parsed)
            how = {name: given[name] for name in ("seed", "compile", "threads") if name in given}
            here = {"split": "of the dataset", "threads": 1}
            assert config.complete(given, here) == config.complete({**settings, **how}, here)
            assert f"| {cell.name} | {seed['seed']} |" in page and seed["fingerprint"][:16] in page
        [line] = re.findall(rf"^\| {re.escape(cell.name)} \|.+ \|$", page, re.MULTILINE)[:1]
        assert cell.quantity.text(row["ours"], row["interval"]) in line
