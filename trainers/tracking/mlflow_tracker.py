"""MLflow, with a store of its own, an SQLite file, in the run's directory."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainers.config import Settings

EXPERIMENT = "fewshot-episodes"
STORE = "mlflow.db"
MOST_AT_ONCE = 1000
"""Metrics that MLflow takes in one batch."""


class MlflowTracker:
    """One run of one experiment: the settings are its parameters."""

    def __init__(self, folder: Path, name: str, settings: Settings) -> None:
        from mlflow.entities import Param
        from mlflow.tracking import MlflowClient

        folder.mkdir()
        self._client = MlflowClient(tracking_uri=f"sqlite:///{folder.resolve() / STORE}")
        experiment = self._client.create_experiment(
            EXPERIMENT, artifact_location=(folder.resolve() / "artifacts").as_uri()
        )
        self._id = self._client.create_run(experiment, run_name=name).info.run_id
        params = [Param(setting, str(value)) for setting, value in settings.items()]
        self._client.log_batch(self._id, params=params)
        self._waiting: list[Any] = []
        self._last = 0

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """A metric a figure, sent with the next flush: each sending is slow."""
        from mlflow.entities import Metric

        now = time.time_ns() // 1_000_000
        self._waiting += [Metric(name, float(value), now, step) for name, value in figures.items()]
        self._last = step

    def flush(self) -> None:
        """Send what was logged."""
        for first in range(0, len(self._waiting), MOST_AT_ONCE):
            some = self._waiting[first : first + MOST_AT_ONCE]
            self._client.log_batch(self._id, metrics=some)
        self._waiting.clear()

    def finish(self, figures: Mapping[str, float]) -> None:
        """Metrics at the last step; end the run."""
        self.log(self._last, figures)
        self.flush()
        self._client.set_terminated(self._id)


def begin(folder: Path, name: str, settings: Settings) -> MlflowTracker:
    """The tracker of a run in a new folder."""
    return MlflowTracker(folder, name, settings)
