"""A run: its settings, checked against the store that they are for, and its directory."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from episodes.errors import EpisodesError, UsageError
from trainers import config as configuration
from trainers import learner as learners
from trainers import machine, memory, provenance
from trainers.config import RunConfig, Settings
from trainers.learner import Learner
from trainers.run_directory import RunDirectory
from trainers.sources import Source
from trainers.streams import Streams, open_streams


@dataclass(frozen=True)
class Run:
    """What a run computes with."""

    config: RunConfig
    source: Source
    learner: Learner
    streams: Streams

    @classmethod
    def over(cls, source: Source, config: RunConfig) -> "Run":
        """The run of these settings, with this process's threads and device set up for it.

        Raises UsageError where the settings do not fit the source or the machine.
        """
        machine.use(config.device, config.threads)
        learner = learners.build(config, source)
        memory.check(config, learner, source, machine.free_bytes(config.device))
        return cls(config, source, learner, open_streams(source, config))

    @property
    def name(self) -> str:
        """`glyphs-5w1s-anil-personalized-seed1`."""
        config = self.config
        parts = ((config.way, "w"), (config.shot, "s"))
        shape = "".join(f"{n}{letter}" for n, letter in parts if n is not None) or "variable"
        return f"{self.source.name}-{shape}-{config.algo}-{config.lr}-seed{config.seed}"

    def to_toml(self) -> str:
        """The text of its config.toml."""
        tables: dict[str, Settings] = {
            "store": self.source.recorded(),
            "versions": {**provenance.versions()},
        }
        return configuration.to_toml(self.config, tables)


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
