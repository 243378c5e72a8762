"""Cells checked as a whole before the first of them runs."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from episodes.errors import EpisodesError, UsageError, some_of
from trainers import learner as learners
from trainers import lifecycle, samplers
from trainers.config import RunConfig, differences
from trainers.grids.cell import Cell
from trainers.group import Group
from trainers.recorded import check_source, read_config
from trainers.run_directory import RunDirectory
from trainers.settings import flag
from trainers.sources import Source
from trainers.streams import open_streams

AUTO = "auto"
"""A setting that was left to the run, which may have recorded what it decided."""


def planned(cells: Sequence[Cell], folder: Path, threads: int) -> list[Cell]:
    """The cells, each with its device and thread count (`threads` where it was not begun with
    another), and with paths that hold in any working directory.

    Raises UsageError, and EpisodesError, for a cell whose settings do not fit together or the
    dataset, whose name another has, or whose directory has a run with other settings.
    """
    names = [cell.name for cell in cells]
    if doubles := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"two cells are called {doubles[0]}: give each a name of its own")
    found = []
    for cell in cells:
        try:
            found.append(_planned(cell, cell.directory(folder), threads))
        except EpisodesError as error:
            raise type(error)(f"{cell.name}: {error}") from None
    return found


def _planned(cell: Cell, directory: RunDirectory, threads: int) -> Cell:
    recorded, tables = read_config(directory) if directory.config.exists() else (None, {})
    count = threads if recorded is None else recorded.threads
    source, config = lifecycle.settled({"threads": count, **cell.settings})
    _check_fit(source, config)
    if recorded is not None:
        _check_recorded(recorded, config)
        check_source(source, tables["store"], directory.config)
    settled = config.settings()
    kept = ("dataset", "dpp_run", "device", "threads")
    sure = {name: settled[name] for name in kept if name in settled}
    return replace(cell, settings={**cell.settings, **sure})


def _check_fit(source: Source, config: RunConfig) -> None:
    """Raises UsageError where the source cannot give what the settings ask for."""
    learner = learners.build(config, source)
    samplers.task_sampling(config, learner, source, open_streams(source, config), Group())


def _check_recorded(recorded: RunConfig, asked: RunConfig) -> None:
    begun_with, settings = recorded.settings(), asked.settings()
    decided = {name: value for name, value in settings.items() if value != AUTO}
    changed = differences(recorded, decided) + [
        f"no {flag(name, value).split()[0]} (recorded: {flag(name, value)})"
        for name, value in begun_with.items()
        if name not in settings
    ]
    if changed:
        raise UsageError(
            f"its directory was begun with other settings, found {some_of(changed, 5, '; ')}: "
            "give the recorded ones, or choose another folder"
        )
