"""Weights & Biases, offline: what it keeps is sent once one types `wandb sync`."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from trainers.config import Settings

PROJECT = "fewshot-episodes"
ID_LENGTH = 16


class WandbTracker:
    """One offline run, whose id is that of the run's directory."""

    def __init__(self, folder: Path, name: str, settings: Settings) -> None:
        import wandb

        folder.mkdir()
        self._run = wandb.init(
            project=PROJECT,
            name=name,
            id=hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:ID_LENGTH],
            dir=str(folder),
            config=dict(settings),
            mode="offline",
            settings=wandb.Settings(silent=True, console="off"),
        )
        self._last = 0

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """A row of its history; rows of the same step are one."""
        self._run.log(dict(figures), step=step)
        self._last = step

    def flush(self) -> None:
        """Nothing: a process of its own writes all that it is told."""

    def finish(self, figures: Mapping[str, float]) -> None:
        """The figures at the last step and in the summary; end the run."""
        self.log(self._last, figures)
        self._run.finish()


def begin(folder: Path, name: str, settings: Settings) -> WandbTracker:
    """The tracker of a run in a new folder."""
    return WandbTracker(folder, name, settings)
