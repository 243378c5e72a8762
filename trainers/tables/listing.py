"""The cells of a table as a list, before anything is run."""

from collections.abc import Sequence
from typing import Any

from trainers.grids.cell import Cell
from trainers.tables.table import TableCell


def as_text(cells: Sequence[TableCell]) -> str:
    """A line a cell: its name, the paper's figure, and why it is not run."""
    width = max(len(cell.name) for cell in cells)
    return "\n".join(
        f"{cell.name:<{width}}  {paper_text(cell)}"
        + ("" if cell.why_not is None else f"  (not run: {cell.why_not})")
        for cell in cells
    )


def as_data(cells: Sequence[TableCell]) -> list[dict[str, Any]]:
    """A row a cell, with the command of its run from training seed 1."""
    return [
        {
            "cell": cell.name,
            "quantity": cell.quantity.name,
            "paper": None if cell.paper is None else cell.paper.text,
            "command": Cell("run", {**cell.settings, "seed": 1}).command,
            "tested_on": cell.tested_on,
            "why_not": cell.why_not,
        }
        for cell in cells
    ]


def paper_text(cell: TableCell) -> str:
    """The paper's figure with its unit."""
    if cell.paper is None:
        return "no number"
    return f"{cell.paper.text} {cell.quantity.unit}".rstrip()
