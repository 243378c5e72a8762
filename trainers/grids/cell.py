"""A cell of a grid: a run by its name and settings, in a folder that it shares with others."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TextIO

from episodes.errors import UsageError
from trainers.files import writing
from trainers.run_directory import RunDirectory
from trainers.settings import Value, dashed, flag


@dataclass(frozen=True)
class Cell:
    """A run: the name of its directory, and its settings, the others as `trainers run` has them.

    Raises UsageError for a name that is none of a directory.
    """

    name: str
    settings: Mapping[str, Value]

    def __post_init__(self) -> None:
        if self.name in ("", "..") or Path(self.name).name != self.name:
            raise UsageError(f"the cell {self.name!r} cannot be a directory: leave out its slashes")

    @property
    def flags(self) -> tuple[str, ...]:
        """The settings as `trainers run` takes them."""
        return tuple(
            argument
            for name, value in self.settings.items()
            for argument in (
                (flag(name, value),)
                if isinstance(value, bool)
                else (f"--{dashed(name)}", str(value))
            )
        )

    @property
    def command(self) -> str:
        """What one types for this run alone."""
        return shlex.join(("trainers", "run", *self.flags))

    def directory(self, folder: Path) -> RunDirectory:
        """Its run directory in a folder."""
        return RunDirectory(folder / self.name)

    def log(self, folder: Path) -> Path:
        """What it said, in every attempt."""
        return folder / f"{self.name}.log"

    def arguments(self, folder: Path) -> tuple[str, ...]:
        """What the command `trainers` is told to begin the run, or to resume one that was begun."""
        directory = self.directory(folder)
        if directory.config.exists():
            return ("run", "--resume", str(directory.path))
        return ("run", *self.flags, "--out", str(directory.path))

    def open_log(self, folder: Path, arguments: tuple[str, ...]) -> TextIO:
        """Its log, to add what an attempt says to; the attempt's command is in it."""
        with writing(self.log(folder)):
            log = self.log(folder).open("a", encoding="utf-8", buffering=1)
            log.write(f"$ {shlex.join(('trainers', *arguments))}\n")
        return log

    def last_line(self, folder: Path) -> str:
        """The last line of its log; nothing where it has not run."""
        log = self.log(folder)
        lines = log.read_text(encoding="utf-8").strip().splitlines() if log.exists() else []
        return lines[-1] if lines else ""


class Ended(NamedTuple):
    """A cell that is finished, or the one line that says why it is not."""

    cell: Cell
    failure: str | None

    @classmethod
    def with_code(cls, cell: Cell, code: int, folder: Path) -> "Ended":
        """The cell after its command exited with `code`, that of a signal below zero."""
        if code < 0:
            return cls(cell, f"killed by signal {-code}")
        return cls(cell, cell.last_line(folder).removeprefix("error: ") if code else None)
