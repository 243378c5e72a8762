"""What a run directory holds, finished or not, read for a page."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from episodes.errors import UsageError
from trainers import config as configuration
from trainers.comparison import TestFigures, read_figures
from trainers.config import RunConfig, Settings
from trainers.metrics import METRICS, Metric
from trainers.recorded import read_config
from trainers.report import Figures
from trainers.run_directory import MAKE_A_RUN, RunDirectory, read_metrics
from trainers.settings import flag

Record = Mapping[str, Any]


@dataclass(frozen=True)
class RunFiles:
    """A run as its files tell: `results` and the `figures` of the test episodes are None until it
    is finished; `iterations` and `validations` are the records of metrics.jsonl, `evaluations` what
    `trainers eval` wrote, by file name."""

    directory: RunDirectory
    config: RunConfig
    tables: Mapping[str, Record]
    iterations: Sequence[Record]
    validations: Sequence[Record]
    results: Figures | None
    figures: TestFigures | None
    evaluations: Mapping[str, Figures]

    @property
    def name(self) -> str:
        """The directory's own name."""
        return self.directory.path.resolve().name

    @property
    def metric(self) -> Metric:
        """What the run is judged by."""
        return METRICS[self.config.metric]

    @property
    def done(self) -> int:
        """The outer iterations that are done."""
        return max((int(record["iteration"]) for record in self.iterations), default=0)

    @property
    def changed(self) -> Settings:
        """The settings that are not the usual ones, and the names of what they belong to."""
        usual = configuration.usual(self.config)
        return {n: v for n, v in self.config.settings().items() if usual.get(n) != v}

    @property
    def command(self) -> str:
        """A command that begins the same run again, on the same dataset."""
        chosen = {"dataset", "algo", "lr"}
        given = {
            name: value
            for name, value in self.config.settings().items()
            if name in chosen or name in self.changed
        }
        flags = (shlex.join(flag(name, value).split(" ", 1)) for name, value in given.items())
        return " ".join(("trainers run", *flags))


def read_run(directory: RunDirectory) -> RunFiles:
    """The files of a run that was begun; raises EpisodesError where one of them is damaged."""
    config, tables = read_config(directory)
    is_finished = directory.results.exists()
    iterations, validations = (
        read_metrics(directory.metrics, is_growing=not is_finished)
        if directory.metrics.exists()
        else ([], [])
    )
    return RunFiles(
        directory,
        config,
        tables,
        iterations,
        validations,
        directory.read_results() if is_finished else None,
        read_figures(directory.path) if is_finished else None,
        _evaluations(directory.path),
    )


def find_runs(path: Path) -> list[RunDirectory]:
    """The run in a folder, or all the runs that are anywhere under it, in the order of their names.

    Raises UsageError where there is none.
    """
    if not path.is_dir():
        raise UsageError(
            f"{path}: no such directory; expected a run, or a folder of runs: {MAKE_A_RUN}"
        )
    if RunDirectory(path).config.exists():
        return [RunDirectory(path)]
    found = [RunDirectory(file.parent) for file in sorted(path.rglob("config.toml"))]
    if not found:
        raise UsageError(f"{path} holds no run (no config.toml in it or under it): {MAKE_A_RUN}")
    return found


def _evaluations(path: Path) -> dict[str, Figures]:
    found = {}
    for file in sorted(path.glob("eval-*.json")):
        try:
            found[file.name] = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # One that is being written, or is not ours.
            continue
    return found
