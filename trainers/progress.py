"""How far a run is, on standard error: bars on a terminal, a plain line now and then elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from trainers.interrupt import Interrupt

if TYPE_CHECKING:
    from trainers.metrics import Metric

SECONDS_BETWEEN_LINES = 10.0
MEMORY = 0.95


class Phase:
    """A part of a run whose end is known: training, a validation, the test.

    It counts units (iterations, episodes), `total` in all, from `done` on; `metric` tells what its
    figures are.
    """

    def __init__(
        self,
        name: str,
        unit: str,
        total: int,
        done: int,
        episodes_per_unit: int,
        show: Callable[["Phase"], None],
        interrupt: Interrupt,
        metric: "Metric | None" = None,
    ) -> None:
        self.metric = metric
        self.name, self.unit, self.total, self.done = name, unit, total, done
        self._episodes_per_unit = episodes_per_unit
        self._show, self._interrupt = show, interrupt
        self._first = done
        self._began = time.monotonic()
        self._averages: dict[str, float] = {}

    def update(self, done: int, loss: float | None = None, figure: float | None = None) -> None:
        """`done` units are done; `loss` and `figure` of the last one join the averages.

        Raises Interrupted after Ctrl-C: a phase is updated where its state is whole.
        """
        self.done = done
        for name, value in (("loss", loss), ("figure", figure)):
            if value is not None:
                average = self._averages.get(name, value)
                self._averages[name] = MEMORY * average + (1 - MEMORY) * value
        self._show(self)
        self._interrupt.check()

    @property
    def status(self) -> str:
        """`120/500, loss 1.052, accuracy 56.20 %, 240 episodes/s, 0:06 left`."""
        parts = [f"{self.done}/{self.total}"]
        if "loss" in self._averages:
            parts.append(f"loss {self._averages['loss']:.3f}")
        if "figure" in self._averages and self.metric is not None:
            parts.append(f"{self.metric.name} {self.metric.text(self._averages['figure'])}")
        units, seconds = self.done - self._first, self.seconds
        if units and seconds:
            parts.append(f"{units * self._episodes_per_unit / seconds:.0f} episodes/s")
            parts.append(f"{clock(self.seconds_left)} left")
        return ", ".join(parts)

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self._began

    @property
    def seconds_left(self) -> float:
        """By the pace since it began, of one unit or more."""
        return self.seconds / (self.done - self._first) * (self.total - self.done)


class Progress:
    """Plain lines: one about every ten seconds, and the notes."""

    def __init__(self, interrupt: Interrupt) -> None:
        self.interrupt = interrupt
        self._last_line = time.monotonic()

    @contextmanager
    def phase(
        self,
        name: str,
        unit: str,
        total: int,
        done: int = 0,
        episodes_per_unit: int = 1,
        metric: "Metric | None" = None,
    ) -> Iterator[Phase]:
        """Opens a phase; inside another one it is shown beside it."""
        show = self._line_now_and_then
        yield Phase(name, unit, total, done, episodes_per_unit, show, self.interrupt, metric)

    def note(self, text: str) -> None:
        """A line that stays."""
        print(text, file=sys.stderr, flush=True)

    def _line_now_and_then(self, phase: Phase) -> None:
        if time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            self.note(f"{phase.name}: {phase.unit} {phase.status}")


class BarProgress(Progress):
    """A bar for each open phase."""

    def __init__(self, interrupt: Interrupt) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bars

        super().__init__(interrupt)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(20),
            TextColumn("{task.fields[status]}"),
        )
        self.bars = Bars(*columns, console=Console(stderr=True), transient=True)

    @contextmanager
    def phase(
        self,
        name: str,
        unit: str,
        total: int,
        done: int = 0,
        episodes_per_unit: int = 1,
        metric: "Metric | None" = None,
    ) -> Iterator[Phase]:
        """Opens a phase with a bar of its own."""
        bar = self.bars.add_task(name, total=total, completed=done, status="")

        def show(phase: Phase) -> None:
            self.bars.update(bar, completed=phase.done, status=phase.status)

        try:
            yield Phase(name, unit, total, done, episodes_per_unit, show, self.interrupt, metric)
        finally:
            self.bars.remove_task(bar)

    def note(self, text: str) -> None:
        """A line above the bars."""
        self.bars.console.print(text, highlight=False, markup=False, soft_wrap=True)


class NoProgress(Progress):
    """Says nothing: for the ranks beside the first."""

    def note(self, text: str) -> None:
        """Nothing."""


@contextmanager
def progress(interrupt: Interrupt, is_shown: bool = True) -> Iterator[Progress]:
    """Bars where standard error is a terminal, else plain lines; nothing unless it `is_shown`."""
    if not is_shown:
        yield NoProgress(interrupt)
    elif sys.stderr.isatty():
        bars = BarProgress(interrupt)
        with bars.bars:
            yield bars
    else:
        yield Progress(interrupt)


def clock(seconds: float) -> str:
    """Hours, minutes and seconds: `1:02:03`, `2:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
