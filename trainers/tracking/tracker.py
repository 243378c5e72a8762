"""What a tracker is told, and the log of metrics that tells it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from trainers.report import Figures
from trainers.run_directory import MetricsLog, RunDirectory, read_records

VALIDATION = "validation_"


class Tracker(Protocol):
    """A tool that keeps the figures of one run."""

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """The figures of an outer iteration, by name; steps never fall."""

    def flush(self) -> None:
        """Bring what was logged to the disk; a checkpoint is about to be written."""

    def finish(self, figures: Mapping[str, float]) -> None:
        """The run is finished, with these figures of its test; nothing is logged any more."""


def figures_of(record: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a line of metrics.jsonl: `training/loss`, `validation/accuracy`, `rates/1`."""
    figures: dict[str, float] = {}
    for name, value in record.items():
        if name == "rates":
            figures |= {f"rates/{step}": rate for step, rate in enumerate(value, 1)}
        elif isinstance(value, (int, float)) and name != "iteration":
            is_validation = name.startswith(VALIDATION)
            phase = "validation" if is_validation else "training"
            figures[f"{phase}/{name.removeprefix(VALIDATION)}"] = value
    return figures


def figures_of_test(results: Figures) -> dict[str, float]:
    """The numbers that a finished run is judged by: `test/accuracy`, `test/interval`."""
    test = results["test"]
    names = (test["metric"], "interval", "median")
    return {f"test/{name}": test[name] for name in names}


class TrackedLog(MetricsLog):
    """metrics.jsonl, and a tracker that is told all that is in it."""

    def __init__(self, path: Path, size: int, tracker: Tracker) -> None:
        """As `MetricsLog`; the tracker is told of the first `size` bytes at once."""
        super().__init__(path, size)
        self._tracker = tracker
        _replay(path, tracker)

    def append(self, **record: Any) -> None:
        """Add one line, and tell the tracker."""
        super().append(**record)
        _tell(self._tracker, record)

    def sync(self) -> int:
        """Flush both to the disk; the length of the file in bytes."""
        self._tracker.flush()
        return super().sync()


def tell_finished(tracker: Tracker, run: RunDirectory, results: Figures) -> None:
    """Tell a tracker the whole of a finished run."""
    _replay(run.metrics, tracker)
    tracker.finish(figures_of_test(results))


def _replay(path: Path, tracker: Tracker) -> None:
    for record in read_records(path):
        _tell(tracker, record)


def _tell(tracker: Tracker, record: Mapping[str, Any]) -> None:
    if figures := figures_of(record):
        tracker.log(record["iteration"], figures)
