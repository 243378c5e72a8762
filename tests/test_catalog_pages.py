"""The pages on algorithms, rate schemes and additions are as the catalog and the tables have it."""

import json
from pathlib import Path

import catalog_pages
import pytest
from catalog_pages import DOCS, Page

from trainers import catalog

HEADINGS = ["Equation", "What a run tells", "Command", "Settings", "Our result", "Traps", "Source"]
NO_PAPER = {"paper_prints": None}
PAGES = [pytest.param(page, id=page.path) for page in catalog_pages.pages()]


def page_of(path: str) -> Page:
    return next(page for page in catalog_pages.pages() if page.path == path)


def sections(path: Path) -> dict[str, str]:
    """A page's text under each of its headings of the second order."""
    parts = path.read_text(encoding="utf-8").split("\n## ")[1:]
    return dict(part.split("\n", 1) for part in parts)


def test_pages_are_as_the_tool_writes_them() -> None:
    stale = [
        str(path.relative_to(DOCS))
        for path, text in catalog_pages.written(DOCS).items()
        if path.read_text(encoding="utf-8") != text
    ]
    assert not stale, "run python tools/catalog_pages.py"


def test_every_name_of_the_command_line_has_a_page_and_no_other_name_has() -> None:
    found = {
        folder: {path.stem for path in (DOCS / folder).glob("*.md")}
        for folder in ("algorithms", "rates", "additions")
    }
    assert found == {
        "algorithms": {*catalog.ALGORITHMS, "index"},
        "rates": {*catalog.RATE_SCHEMES, "index"} - {"none"},
        "additions": {"trlearner", "multi-step-loss", "l2f"},
    }


@pytest.mark.parametrize("page", PAGES)
def test_a_page_has_the_headings_and_the_source_of_the_catalog(page: Page) -> None:
    found = sections(DOCS / page.path)
    assert list(found) == [name for name in HEADINGS if name in found or name != "Traps"]
    on_one_line = " ".join(found["Source"].split())
    assert page.entry.source.casefold() in on_one_line.casefold()


def cell(name: str, command: str, **others: object) -> dict[str, object]:
    """A cell as a table's JSON has it."""
    usual = {
        "cell": name,
        "quantity": "accuracy",
        "paper_prints": "48.70 ± 1.84",
        "ours": 47.0,
        "interval": 0.9,
        "iterations": 60000,
        "iterations_of_protocol": 60000,
        "is_limited": False,
        "seeds": [{"command": command}],
    }
    return usual | others


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """A folder with the JSON of two tables."""
    maml, l2f = "trainers run --algo maml --lr alfa", "trainers run --l2f --multi-step-epochs 3"
    contents = {
        "first": [
            cell("images MAML", maml),
            cell("images shorter", maml, iterations=500, is_limited=True, **NO_PAPER),
            cell("images failed", maml, ours=None, seeds=[]),
        ],
        "second": [cell("waves L2F", l2f, quantity="mse", ours=1.25, interval=None, **NO_PAPER)],
    }
    for name, cells in contents.items():
        (tmp_path / f"{name}.json").write_text(json.dumps({"table": name, "cells": cells}))
    return tmp_path


def rows(path: str, tables: Path) -> list[str]:
    return catalog_pages.results_lines(page_of(path), catalog_pages.read_tables(tables))[2:]


def test_results_are_the_measured_cells_in_which_the_name_was_used(tables: Path) -> None:
    link = "[first](../results/tables/first.md)"
    expected = [
        f"| {link} | images MAML | 60,000 | 47.00 ± 0.90 % | 48.70 ± 1.84 |",
        f"| {link} | images shorter | 500 of 60,000 (budget) | 47.00 ± 0.90 % | - |",
    ]
    assert rows("algorithms/maml.md", tables) == expected
    assert rows("rates/alfa.md", tables) == expected


def test_what_a_command_leaves_out_has_its_default(tables: Path) -> None:
    expected = ["| [second](../results/tables/second.md) | waves L2F | 60,000 | 1.250 | - |"]
    for used in (
        "algorithms/anil",
        "rates/personalized",
        "additions/l2f",
        "additions/multi-step-loss",
    ):
        assert rows(f"{used}.md", tables) == expected


def test_a_name_that_no_table_used_is_not_measured(tables: Path) -> None:
    cells = catalog_pages.read_tables(tables)
    for path in ("algorithms/boil.md", "additions/trlearner.md"):
        assert catalog_pages.results_lines(page_of(path), cells) == ["Not measured yet."]


def test_settings_say_flag_default_and_range() -> None:
    imaml = catalog_pages.settings_lines(page_of("algorithms/imaml.md"))
    assert imaml[2:4] == [
        "| `--proximity` | `2.0` | above 0 | The weight lambda of iMAML's proximal term. |",
        "| `--cg-steps` | `5` | 1 to 10000 | iMAML's conjugate gradient steps. |",
    ]
    assert imaml[4:] == [
        "",
        "It changes defaults of others: `--lr fixed`.",
        "",
        "It takes these rate schemes: `fixed`, `linear`, `step`, `cosine`, `personalized`.",
    ]
    assert catalog_pages.settings_lines(page_of("algorithms/anil.md")) == [
        "It has no settings of its own."
    ]


def test_settings_of_a_named_choice_are_among_those_of_the_scheme() -> None:
    flags = [
        line.split(" | ")[0]
        for line in catalog_pages.settings_lines(page_of("rates/personalized.md"))
    ]
    assert flags[2:] == [
        "| `--lr-min`",
        "| `--lr-max`",
        "| `--divergence`",
        "| `--detach-rate`, `--attach-rate`",
        "| `--clip-rate`, `--no-clip-rate`",
        "| `--smoothing`",
        "| `--clamp`",
    ]


def test_a_part_is_replaced_between_its_marks_alone() -> None:
    text = "above\n<!-- settings -->\nold\n<!-- /settings -->\nbelow\n"
    expected = "above\n<!-- settings -->\n\nnew\n\n<!-- /settings -->\nbelow\n"
    assert catalog_pages.with_part(text, "settings", ["new"]) == expected
    assert catalog_pages.with_part(expected, "settings", ["new"]) == expected
    for torn in ("", "<!-- settings -->\n", text + text, "<!-- /settings -->\n<!-- settings -->\n"):
        with pytest.raises(LookupError, match="once"):
            catalog_pages.with_part(torn, "settings", ["new"])
