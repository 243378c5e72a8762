"""A table of image paths and labels."""

import os
from pathlib import Path

from episodes.errors import EpisodesError, UsageError
from episodes.own.collection import Collection, Item, id_of_image, mark_of, name_of_class, read_file
from episodes.own.splits import named
from episodes.own.tables import Row, read_table


def images_in_csv(
    path: Path,
    path_column: str = "path",
    label_column: str = "label",
    split_column: str | None = None,
) -> Collection:
    """The images that the table in `path` lists, each with its label.

    Paths are absolute or relative to the table's folder; an image's id is its path from there.
    `split_column` holds train, val, test or - for every row, the same for all rows of a class.
    Raises EpisodesError, naming the line, for files that are not there or come twice, for empty
    cells, and for a class in two parts.
    """
    columns = [path_column, label_column, *([split_column] if split_column else [])]
    if len(set(columns)) != len(columns):
        raise UsageError(f"the columns are {', '.join(columns)}; expected different ones")
    rows = read_table(path, columns)
    if not rows:
        raise EpisodesError(f"{path} lists no images: it has a header only")
    _refuse_missing(path, rows, path_column)
    items: list[Item] = []
    lines: dict[str, int] = {}
    parts: dict[str, tuple[str, int]] = {}
    for row in rows:
        where = f"{path}, line {row.line}"
        place = _place(path, row[path_column])
        if place in lines:
            raise EpisodesError(
                f"{where}: {row[path_column]!r} is in line {lines[place]} already: remove one"
            )
        lines[place] = row.line
        name = name_of_class(row[label_column].strip(), where)
        relative = id_of_image(os.path.relpath(place, path.parent).replace(os.sep, "/"), where)
        items.append(Item(name, relative, place, mark_of(Path(place))))
        if split_column:
            _, part, _ = named(name, row[split_column].strip(), where)
            first, line = parts.setdefault(name, (part, row.line))
            if part != first:
                raise EpisodesError(
                    f"{where}: the class {name!r} is in {part} here and in {first} in line {line}: "
                    "a split divides classes, not images"
                )
    return Collection(
        "csv",
        f"the table {path.name}",
        tuple(items),
        read_file,
        parts={name: part for name, (part, _) in parts.items()} if split_column else None,
        divided_by=f"the column {split_column} of {path.name}" if split_column else "",
    )


def _place(table: Path, text: str) -> str:
    return os.path.abspath(table.parent / text.strip())


def _refuse_missing(table: Path, rows: list[Row], column: str) -> None:
    missing = [row for row in rows if not os.path.isfile(_place(table, row[column]))]
    if not missing:
        return
    where = f"{table}, line {missing[0].line}"
    if not missing[0][column].strip():
        raise EpisodesError(f"{where}: the column {column} is empty")
    more = f" (nor are {len(missing) - 1:,} more)" if len(missing) > 1 else ""
    raise EpisodesError(
        f"{where}: the image {missing[0][column]!r} is not there{more}: "
        "expected a path from the table's folder"
    )
