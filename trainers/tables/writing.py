"""A table's outcomes as Markdown, CSV, plain data and a picture, and their files."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from trainers.files import write_whole, writing
from trainers.tables import picture
from trainers.tables.listing import paper_text
from trainers.tables.making import Request
from trainers.tables.outcome import Outcome
from trainers.tables.quantities import Measured, Quantity
from trainers.wording import plural

AGREEMENT = (
    "`agrees`: the 95 % interval of the difference, that of two independent means, has 0 in it; a "
    "figure without an interval counts as exact."
)
OF_A_PAPER = "What the paper leaves open, and how it is set here:"
OF_ONE_SEED = "Our intervals are over test tasks, of one training seed: they say nothing of seeds."
OF_SEEDS = "Our intervals are Student's over the means of {} training seeds on the same test tasks."


def markdown(request: Request, outcomes: Sequence[Outcome]) -> str:
    """The page of a table: the cells, how they were made, what is open, and what cannot be run."""
    table = request.table
    has_figures = any(outcome.cell.paper for outcome in outcomes)
    lines = [
        f"# {table.name}: {table.title}",
        "",
        *_cells(outcomes, has_figures),
        "",
        *([AGREEMENT] if has_figures else []),
        OF_ONE_SEED if request.seeds == 1 else OF_SEEDS.format(request.seeds),
        "",
        f"![The figures of the table with their intervals]({table.name}.png)",
    ]
    if limited := [outcome for outcome in outcomes if outcome.is_limited]:
        lines += ["", _budget_told(request, limited)]
    if notes := _notes(outcomes):
        lines += ["", "What to know of our figures:", "", *notes]
    lines += ["", OF_A_PAPER if has_figures else "The protocol:", ""]
    lines += [f"- {line}" for line in table.open]
    reasons = [f"- {o.cell.name}: {o.cell.why_not}" for o in outcomes if o.cell.why_not]
    if reasons:
        lines += ["", "Not run:", "", *reasons]
    if any(outcome.seeds for outcome in outcomes):
        lines += ["", f"The runs; their commands are in `{table.name}.json`:", "", *_runs(outcomes)]
    return "\n".join(lines)


def _budget_told(request: Request, limited: Sequence[Outcome]) -> str:
    assert request.budget is not None
    count = limited[0].iterations
    is_time = request.budget.seconds is not None
    came_to = f", {request.budget.text} of training in all" if is_time else ""
    iterations = plural("iteration", count)
    return (
        f"**Limited by a budget**{came_to}: {count:,} {iterations} in each of {len(limited)} "
        f"{plural('cell', len(limited))} in place of its own, as `--budget '{count} {iterations}'` "
        "has it. These are no reproductions."
    )


def _cells(outcomes: Sequence[Outcome], has_figures: bool) -> list[str]:
    """The table itself; without the columns of the paper where it has no figure."""
    heads = ("cell", "paper", "ours", "difference", "", "iterations")
    lines = [heads, ("---",) * 6, *(_texts(outcome) for outcome in outcomes)]
    kept = range(6) if has_figures else (0, 2, 5)
    return [f"| {' | '.join(line[place] for place in kept)} |" for line in lines]


def _texts(outcome: Outcome) -> tuple[str, ...]:
    cell, ours, difference = outcome.cell, outcome.ours, outcome.difference
    own = int(cell.settings["iterations"])
    limited = f"{outcome.iterations:,} of {own:,} (budget)"
    iterations = limited if outcome.is_limited else f"{own:,}"
    return (
        cell.name,
        paper_text(cell),
        _text(cell.quantity, ours) if outcome.seeds else _why_none(outcome),
        _text(cell.quantity, difference, sign=True) if difference.mean is not None else "",
        outcome.verdict,
        "" if cell.why_not else iterations,
    )


def _why_none(outcome: Outcome) -> str:
    if outcome.cell.why_not is not None:
        return "not run"
    return "failed" if outcome.failures else "-"


def _text(quantity: Quantity, measured: Measured, sign: bool = False) -> str:
    if measured.mean is None:
        return "not reached"
    plus = "+" if sign and measured.mean > 0 else ""
    return f"{plus}{quantity.text(measured.mean, measured.interval)} {quantity.unit}".rstrip()


def _notes(outcomes: Sequence[Outcome]) -> list[str]:
    """A line a note, with the cells that it is about."""
    about: dict[str, list[str]] = {}
    for outcome in outcomes:
        told = [*outcome.failures, *(note for seed in outcome.seeds for note in seed.notes)]
        for note in dict.fromkeys(told):
            about.setdefault(note, []).append(outcome.cell.name)
    return [f"- {', '.join(cells)}: {note}" for note, cells in about.items()]


def _runs(outcomes: Sequence[Outcome]) -> list[str]:
    """A line a run: what it took, and the tasks that it was tested on; then the machines."""
    lines = [
        "| cell | seed | iteration tested | training, s | test tasks |",
        "|---|---|---|---|---|",
    ]
    machines = dict.fromkeys(
        "{cpu}, {cores} cores, --threads {threads}, --device {device}".format_map(seed.hardware)
        for outcome in outcomes
        for seed in outcome.seeds
    )
    lines += [
        f"| {outcome.cell.name} | {seed.seed} | {seed.iteration:,} | "
        f"{seed.seconds['training']:.0f} | `{seed.fingerprint[:16]}` |"
        for outcome in outcomes
        for seed in outcome.seeds
    ]
    return [*lines, "", f"Hardware: {'; '.join(machines)}."]


def rows(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """A row a cell, in the unit of its figures, as plain data."""
    return [
        {
            "cell": outcome.cell.name,
            "column": outcome.cell.column,
            "row": outcome.cell.row,
            "quantity": outcome.cell.quantity.name,
            "unit": outcome.cell.quantity.unit,
            "paper_prints": None if outcome.cell.paper is None else outcome.cell.paper.text,
            "paper": None if outcome.cell.paper is None else outcome.cell.paper.mean,
            "paper_interval": None if outcome.cell.paper is None else outcome.cell.paper.interval,
            "ours": outcome.ours.mean,
            "interval": outcome.ours.interval,
            "difference": outcome.difference.mean,
            "difference_interval": outcome.difference.interval,
            "verdict": outcome.verdict,
            "iterations": outcome.iterations,
            "iterations_of_protocol": outcome.cell.settings["iterations"],
            "is_limited": outcome.is_limited,
            "tested_on": outcome.cell.tested_on,
            "why_not": outcome.cell.why_not,
            "failures": list(outcome.failures),
            "seeds": [
                asdict(seed) | {"measured": seed.measured._asdict()} for seed in outcome.seeds
            ],
        }
        for outcome in outcomes
    ]


def as_data(request: Request, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The table as plain data."""
    table = request.table
    return {
        "table": table.name,
        "title": table.title,
        "csv": list(table.csv),
        "budget": None if request.budget is None else request.budget.text,
        "agreement": AGREEMENT,
        "open": list(table.open),
        "cells": rows(outcomes),
    }


def comma_separated(outcomes: Sequence[Outcome]) -> str:
    """A line a cell."""
    text = io.StringIO()
    flat = [{n: v for n, v in row.items() if not isinstance(v, list)} for row in rows(outcomes)]
    writer = csv.DictWriter(text, flat[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


def write(request: Request, outcomes: Sequence[Outcome]) -> None:
    """Write OUT/NAME.md, .csv, .json and .png."""
    contents = {
        "md": (markdown(request, outcomes) + "\n").encode(),
        "csv": comma_separated(outcomes).encode(),
        "json": (json.dumps(as_data(request, outcomes), indent=1) + "\n").encode(),
        "png": picture.draw(request.table, outcomes),
    }
    with writing(request.out):
        request.out.mkdir(parents=True, exist_ok=True)
    for suffix, content in contents.items():
        write_whole(request.out / f"{request.table.name}.{suffix}", content)
