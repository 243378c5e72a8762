"""A paper's table: its cells as run settings, and the figures that it prints."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from importlib import resources
from typing import Any

from episodes.errors import EpisodesError, UsageError, unknown_name
from trainers.config import check_names
from trainers.presets import PRESETS
from trainers.settings import Value
from trainers.tables.quantities import QUANTITIES, Quantity

NOT_IN_THE_PAPER = "-"
PRINTED = re.compile(r"(?P<mean>[\d.]+)(?: ± (?P<interval>[\d.]+)| \((?P<deviation>[\d.]+)\))?")
OF_A_CELL = ("preset", "tested_on", "quantity")
"""What a part may hold besides run settings."""
KEYS = {"title", "quantity", "common", "open", "parts", "columns", "rows"}
OPTIONAL_KEYS = {"csv", "figures", "cannot_run"}


@dataclass(frozen=True)
class Figure:
    """What a paper prints: `55.67 ± 0.97`; or `24.85 (0.43)`, where what it prints after the ± is
    no 95 % interval of the mean, which is then None."""

    text: str

    def __post_init__(self) -> None:
        if PRINTED.fullmatch(self.text) is None:
            raise EpisodesError(f"{self.text!r} is no figure such as '55.67 ± 0.97'")

    @property
    def mean(self) -> float:
        """The number before the ±."""
        return float(self._part("mean") or "nan")

    @property
    def interval(self) -> float | None:
        """Half the width of the 95 % interval of the mean, where there is one."""
        interval = self._part("interval")
        return None if interval is None else float(interval)

    def _part(self, name: str) -> str | None:
        found = PRINTED.fullmatch(self.text)
        assert found is not None
        return found[name]


@dataclass(frozen=True)
class TableCell:
    """A cell: the settings of its run, what is measured of it, and what the paper has there.

    `tested_on` is the dataset of its test where that is another than training's; `paper` is None
    where the paper prints no number; `why_not` says why it cannot be run, None where it can.
    """

    column: str
    row: str
    settings: Mapping[str, Value]
    quantity: Quantity
    paper: Figure | None
    tested_on: str | None = None
    why_not: str | None = None

    @property
    def name(self) -> str:
        """`miniImageNet 5-way 1-shot ANIL`."""
        return f"{self.column} {self.row}"


@dataclass(frozen=True)
class Table:
    """A table as its file has it.

    Columns and rows are lists of `parts`, which are settings; a cell has those of `common`, of its
    column and of its row, and of two values of a setting the later one. `figures` has a row's
    figures by column, `-` where the paper has no such cell; a row without figures has cells all the
    same. `csv` is the source and the table of the figures in the project's collection. `open` says
    what the paper leaves open, and how it is set here; `cannot_run` why a row, a column or a cell
    is not run.

    Raises EpisodesError for a file that is none.
    """

    name: str
    title: str
    quantity: str | None
    common: tuple[str, ...]
    open: tuple[str, ...]
    parts: Mapping[str, Mapping[str, Any]]
    columns: Mapping[str, Sequence[str]]
    rows: Mapping[str, Sequence[str]]
    figures: Mapping[str, Sequence[str]]
    cannot_run: Mapping[str, str]
    csv: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for part in self.parts.values():
            check_names(part.keys() - {*OF_A_CELL})
        for row, figures in self.figures.items():
            if row not in self.rows or len(figures) != len(self.columns):
                raise EpisodesError(f"table {self.name}: {row!r} needs a figure for each column")
        known = {*self.columns, *self.rows, *(cell.name for cell in self.cells)}
        if strange := sorted(self.cannot_run.keys() - known):
            raise EpisodesError(f"table {self.name}: no cell is called {strange[0]!r}")

    @cached_property
    def cells(self) -> tuple[TableCell, ...]:
        """The cells that the paper has, column by column."""
        return tuple(
            self._cell(number, column, row)
            for number, column in enumerate(self.columns)
            for row in self.rows
            if row not in self.figures or self.figures[row][number] != NOT_IN_THE_PAPER
        )

    def chosen(self, patterns: Sequence[str]) -> list[TableCell]:
        """The cells whose names match a pattern such as `miniImageNet*ANIL*`; without any, all.

        Raises UsageError for a pattern that no cell's name matches.
        """
        for pattern in patterns:
            if not any(_matches(cell, pattern) for cell in self.cells):
                raise UsageError(
                    f"--cells {pattern}: no cell of {self.name} is called so, "
                    f"`trainers table {self.name} --list` lists them"
                )
        return [
            cell
            for cell in self.cells
            if not patterns or any(_matches(cell, pattern) for pattern in patterns)
        ]

    def _cell(self, number: int, column: str, row: str) -> TableCell:
        merged: dict[str, Any] = {}
        for part in (*self.common, *self.columns[column], *self.rows[row]):
            if part not in self.parts:
                raise EpisodesError(f"table {self.name}: no part is called {part!r}")
            own = dict(self.parts[part])
            merged |= PRESETS[own.pop("preset")].changes if "preset" in own else {}
            merged |= own
        figure = self.figures[row][number] if row in self.figures else None
        reasons = (self.cannot_run.get(name) for name in (f"{column} {row}", row, column))
        return TableCell(
            column=column,
            row=row,
            quantity=QUANTITIES[merged.pop("quantity", self.quantity)],
            tested_on=merged.pop("tested_on", None),
            settings=merged,
            paper=None if figure is None else Figure(figure),
            why_not=next(filter(None, reasons), None),
        )


def _matches(cell: TableCell, pattern: str) -> bool:
    return fnmatchcase(cell.name.casefold(), pattern.casefold())


def names() -> list[str]:
    """The names of the tables."""
    return sorted(path.name.removesuffix(".toml") for path in _files() if path.is_file())


def load(name: str) -> Table:
    """The table of this name; raises UsageError, with the nearest match, where there is none."""
    if name not in names():
        raise unknown_name("table", name, names())
    [path] = [path for path in _files() if path.name == f"{name}.toml"]
    return parse(name, path.read_text(encoding="utf-8"))


def parse(name: str, text: str) -> Table:
    """The table in a TOML text; raises EpisodesError where it is none."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise EpisodesError(f"table {name}: not valid TOML: {error}") from None
    found = content.keys() | {"quantity"}
    if strange := sorted((KEYS - found) | (found - KEYS - OPTIONAL_KEYS)):
        raise EpisodesError(f"table {name}: {strange[0]!r} is missing, or has no meaning")
    try:
        return Table(
            name=name,
            title=content["title"],
            quantity=content.get("quantity"),
            common=tuple(content["common"]),
            open=tuple(content["open"]),
            parts=content["parts"],
            columns=content["columns"],
            rows=content["rows"],
            figures=content.get("figures", {}),
            cannot_run=content.get("cannot_run", {}),
            csv=tuple(content.get("csv", ())),
        )
    except UsageError as error:
        raise EpisodesError(f"table {name}: {error}") from None


def _files() -> list[Any]:
    folder = resources.files("trainers.tables")
    return [path for path in folder.iterdir() if path.name.endswith(".toml")]
