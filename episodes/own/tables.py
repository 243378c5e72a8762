"""Tables as people save them: commas, semicolons or tabs; with or without a byte-order mark."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from episodes.errors import EpisodesError, UsageError, unknown_name

SEPARATORS = (",", ";", "\t")


class Row(dict[str, str]):
    """A row by column name, and the line of the file that it stands in."""

    def __init__(self, cells: Iterable[tuple[str, str]], line: int) -> None:
        super().__init__(cells)
        self.line = line


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, without a byte-order mark; raises EpisodesError."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise UsageError(f"{path} is not there") from None
    except IsADirectoryError:
        raise UsageError(f"{path} is a folder; expected a file") from None
    except OSError as error:
        raise EpisodesError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise EpisodesError(f"{path} is not UTF-8 text: save it as UTF-8") from None


def read_table(path: Path, columns: Sequence[str]) -> list[Row]:
    """The rows of the table in `path`, which has a header with at least `columns`.

    Raises UsageError naming the columns that there are where one is missing, and EpisodesError
    naming the line where a row does not fit the header.
    """
    text = read_text(path)
    rows = _rows(path, text, _separator(text.partition("\n")[0], columns))
    _, header = next(rows, (1, []))
    header = [" ".join(name.split()) for name in header]
    for column in columns:
        if column not in header:
            raise UsageError(f"{path}: {unknown_name('column', column, header)}")
        if header.count(column) > 1:
            raise EpisodesError(f"{path}: the header has the column {column!r} twice")
    table = []
    for line, cells in rows:
        if len(cells) != len(header):
            raise EpisodesError(
                f"{path}, line {line}: {len(cells)} cells; expected {len(header)}, as in the header"
            )
        table.append(Row(zip(header, cells, strict=True), line))
    return table


def _rows(path: Path, text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not empty, each with the line that it begins in."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    line = 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise EpisodesError(f"{path}, line {line}: {error}") from None


def _separator(header: str, columns: Sequence[str]) -> str:
    """The separator by which most of `columns` are in the header, or else the commonest."""

    def fit(separator: str) -> tuple[int, int]:
        cells = [cell.strip().strip('"') for cell in header.split(separator)]
        return len(set(columns) & set(cells)), len(cells)

    return max(SEPARATORS, key=fit)
