"""The picture of a table: the paper's figures and ours as dots, with their intervals."""

from collections.abc import Sequence
from typing import Any

from trainers.pictures import TRAINING, VALIDATION, figure_of, png
from trainers.tables.outcome import Outcome
from trainers.tables.table import Table

PAPER, OURS = VALIDATION, TRAINING
APART = 0.16
"""How far the two dots of a cell are above and below its line."""


def draw(table: Table, outcomes: Sequence[Outcome]) -> bytes:
    """A panel a quantity, a line a cell, as PNG; hollow dots are limited by a budget."""
    names = list(dict.fromkeys(outcome.cell.quantity.name for outcome in outcomes))
    panels = [[o for o in outcomes if o.cell.quantity.name == name] for name in names]
    figure = figure_of(0.9 * len(panels) + 0.32 * len(outcomes) + 0.5)
    heights = [len(panel) + 1 for panel in panels]
    all_axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, panel in zip(all_axes, panels, strict=True):
        quantity = panel[0].cell.quantity
        for line, outcome in enumerate(panel):
            paper, ours = outcome.cell.paper, outcome.ours
            if paper is not None:
                axes.errorbar(
                    paper.mean,
                    line - APART,
                    xerr=paper.interval,
                    color=PAPER,
                    marker="s",
                    markersize=5,
                )
            if ours.mean is not None:
                axes.errorbar(
                    ours.mean,
                    line + APART,
                    xerr=ours.interval,
                    color=OURS,
                    marker="o",
                    markersize=6,
                    markerfacecolor="white" if outcome.is_limited else OURS,
                )
        axes.set_yticks(range(len(panel)), [outcome.cell.name for outcome in panel], fontsize=8)
        axes.set_ylim(len(panel) - 0.4, -0.6)
        unit = f", {quantity.unit}" if quantity.unit else ""
        axes.set_xlabel(quantity.name.replace("_", " ") + unit)
        axes.grid(axis="x", alpha=0.3)
    kinds: dict[str, dict[str, Any]] = {}
    if any(outcome.cell.paper for outcome in outcomes):
        kinds["paper"] = {"color": PAPER, "marker": "s", "markersize": 5}
    if not all(outcome.is_limited for outcome in outcomes):
        kinds["ours"] = {"color": OURS, "marker": "o"}
    if any(outcome.is_limited for outcome in outcomes):
        kinds["ours, by a budget"] = {"color": OURS, "marker": "o", "markerfacecolor": "white"}
    handles = [all_axes[0].errorbar([], [], label=label, **how) for label, how in kinds.items()]
    all_axes[0].set_title(table.name, loc="left")
    figure.legend(handles=handles, loc="outside lower right", ncols=len(handles), fontsize=8)
    return png(figure, grid=False)
