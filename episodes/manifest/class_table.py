"""The class table of a manifest: a row a class in class order, a column a split scheme."""

from collections.abc import Mapping
from dataclasses import dataclass

from episodes.errors import EpisodesError
from episodes.manifest.facts import PARTS

COUNTS_COLUMN = "images"


@dataclass(frozen=True)
class ClassTable:
    """Class names, the images of each where they are counted, and a column a split scheme."""

    names: tuple[str, ...]
    images: tuple[int | None, ...]
    columns: Mapping[str, tuple[str, ...]]


def parse_class_table(file: str, text: str) -> ClassTable:
    """The table in `text`: tab-separated, cells train, val, test or -; raises EpisodesError."""
    header, *rows = [line.split("\t") for line in text.splitlines()] or [[""]]
    if header[0] != "class" or len(header) < 2:
        raise EpisodesError(f"{file}: line 1 must be 'class' and the split schemes, tab-separated")
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise EpisodesError(
                f"{file}: line {number} has {len(row)} cells; expected {len(header)}"
            )
        for column, cell in zip(header[1:], row[1:], strict=True):
            if column == COUNTS_COLUMN:
                if not cell.isdecimal():
                    raise EpisodesError(f"{file}: line {number}: {cell!r} is no number of images")
            elif cell not in (*PARTS, "-"):
                raise EpisodesError(
                    f"{file}: line {number}, {column}: {cell!r} is none of train, val, test, -"
                )
    names = tuple(row[0] for row in rows)
    if len(set(names)) != len(names):
        repeated = next(name for name in names if names.count(name) > 1)
        raise EpisodesError(f"{file}: the class {repeated!r} is listed more than once")
    columns = {name: tuple(row[at] for row in rows) for at, name in enumerate(header[1:], 1)}
    counts = columns.pop(COUNTS_COLUMN, ())
    return ClassTable(names, tuple(map(int, counts)) or (None,) * len(names), columns)
