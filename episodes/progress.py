"""How far a preparation is: a bar on a terminal, a plain line now and then elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.progress import Task, TaskID
    from rich.text import Text

SECONDS_BETWEEN_LINES = 10.0


class Progress(Protocol):
    """Told how far a piece of work is: what, how much is done, how much there is (0: unknown).

    `unit` is "bytes" for sizes and empty for counts, whose name is in `what`.
    """

    def __call__(self, what: str, done: int, total: int, unit: str = "") -> None: ...


def silent(what: str, done: int, total: int, unit: str = "") -> None:
    """A `Progress` that shows nothing."""


@contextmanager
def preparation_progress(enabled: bool = True) -> Iterator[Progress]:
    """A `Progress` that shows, on standard error, what it is told, with rate and remaining time.

    Bars on a terminal, plain lines elsewhere.
    """
    if not enabled:
        yield silent
    elif sys.stderr.isatty():
        with _bars() as progress:
            yield progress
    else:
        yield PlainLines()


class PlainLines:
    """A line about every ten seconds."""

    def __init__(self) -> None:
        self._last = time.monotonic()
        self._begun: dict[str, tuple[int, float]] = {}

    def __call__(self, what: str, done: int, total: int, unit: str = "") -> None:
        now = time.monotonic()
        begun, since = self._begun.setdefault(what, (done, now))
        if done < begun:
            begun, since = self._begun[what] = (done, now)
        if now - self._last >= SECONDS_BETWEEN_LINES:
            self._last = now
            print(line(what, done, total, unit, done - begun, now - since), file=sys.stderr)


def line(what: str, done: int, total: int, unit: str, gained: int, seconds: float) -> str:
    """How far `what` is, when `gained` of what is done was done in the last `seconds`."""
    parts = [f"{what}: {amount(done, unit)}" + (f" of {amount(total, unit)}" if total else "")]
    if gained and seconds:
        rate = gained / seconds
        parts.append(f"{amount(round(rate), unit)}/s")
        if total:
            parts.append(f"{timedelta(seconds=round((total - done) / rate))} left")
    return ", ".join(parts)


def amount(number: int, unit: str) -> str:
    """`number` as it is shown: "1.2 GB" of bytes, "11,788" of anything else."""
    if unit != "bytes":
        return f"{number:,}"
    from rich.filesize import decimal

    return decimal(number)


@contextmanager
def _bars() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        ProgressColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.progress import Progress as Bars
    from rich.text import Text

    class Amount(ProgressColumn):
        """Sizes with their rate, or counts."""

        sizes, rate, counts = DownloadColumn(), TransferSpeedColumn(), MofNCompleteColumn()

        def render(self, task: "Task") -> "Text":
            if task.fields["unit"] != "bytes":
                return self.counts.render(task)
            return Text(" ").join((self.sizes.render(task), self.rate.render(task)))

    name = TextColumn("{task.description}", markup=False)
    columns = (name, BarColumn(20), Amount(), TimeRemainingColumn())
    tasks: dict[str, TaskID] = {}
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:

        def show(what: str, done: int, total: int, unit: str = "") -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total or None, completed=done, unit=unit)
            bars.update(tasks[what], completed=done, total=total or None)

        yield show
