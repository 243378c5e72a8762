"""What tells a tool such as TensorBoard of a run's figures; each is imported once it is asked for.

A tracker's folder in the run directory is a copy of metrics.jsonl. A resumed run writes it anew, so
that no step is there twice, however often the run was stopped.
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from episodes.errors import UsageError
from trainers.config import RunConfig, Settings
from trainers.files import writing
from trainers.run_directory import RunDirectory
from trainers.tracking.tracker import Tracker

OpenTracker = Callable[[RunDirectory, RunConfig], Tracker]
Begin = Callable[[Path, str, Settings], Tracker]
"""Makes a tracker of a folder that is not there yet, the run's name, and its settings."""


@dataclass(frozen=True)
class Tool:
    """A tool that runs can be told to: the `package` it needs and how to install that; its tracker
    is begun by `begin` of the `module`."""

    package: str
    install: str
    module: str


TOOLS: Mapping[str, Tool] = {
    "tensorboard": Tool(
        "tensorboard", "fewshot-episodes[tracking]", "trainers.tracking.tensorboard_tracker"
    ),
    "wandb": Tool("wandb", "wandb", "trainers.tracking.wandb_tracker"),
    "mlflow": Tool("mlflow", "mlflow", "trainers.tracking.mlflow_tracker"),
}


def opener(name: str) -> OpenTracker:
    """What opens the tracker of this name in a run directory, where its folder is made anew.

    Raises UsageError where the package that it needs is missing.
    """
    tool = TOOLS[name]
    if find_spec(tool.package) is None:
        raise UsageError(
            f"--track {name} needs the package {tool.package}: pip install '{tool.install}'"
        )

    def open_tracker(directory: RunDirectory, config: RunConfig) -> Tracker:
        folder = directory.path / name
        with writing(folder):
            if folder.exists():
                shutil.rmtree(folder)
        begin: Begin = import_module(tool.module).begin
        return begin(folder, directory.path.resolve().name, config.settings())

    return open_tracker
