"""What a run directory keeps of a run: its settings, its source, and its best checkpoint."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from episodes.errors import EpisodesError, UsageError
from trainers import config as configuration
from trainers import marks
from trainers.config import RunConfig
from trainers.outer_state import Position
from trainers.run_directory import RunDirectory
from trainers.sources import Source


def read_config(directory: RunDirectory) -> tuple[RunConfig, Mapping[str, Mapping[str, Any]]]:
    """The settings of a run that was begun, and the tables about its store and versions."""
    settings, tables = configuration.read_toml(directory.config)
    if not {"store", "versions"} <= tables.keys():
        raise EpisodesError(f"{directory.config}: expected the tables [store] and [versions]")
    try:
        return configuration.complete(settings, {}), tables
    except UsageError as error:
        raise EpisodesError(f"{directory.config}: {error}") from None


def check_source(source: Source, recorded: Mapping[str, Any], where: object) -> None:
    """Raises EpisodesError unless the source is the one recorded in `where`."""
    if source.digest != recorded.get("digest"):
        raise EpisodesError(
            f"{source.name} has the content digest {source.digest[:12]}…, {where} was "
            f"written for {str(recorded.get('digest'))[:12]}…: "
            "bring back what the run began with, or begin a new run"
        )
    if not marks.has_recorded_classes(source.stores, recorded):
        raise EpisodesError(
            f"the classes of {source.name} {recorded['scheme']} are divided otherwise than {where} "
            "was written for: bring back what the run began with, or begin a new run"
        )


def best_checkpoint(directory: RunDirectory, position: Position) -> tuple[Path, int]:
    """The best checkpoint by validation and its iteration; unvalidated, the last one."""
    if position.best:
        _, iteration = position.best[0]
        return directory.best_checkpoint(iteration), iteration
    return directory.last_checkpoint, position.iteration
