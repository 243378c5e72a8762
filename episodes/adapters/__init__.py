"""Adapters: a stream's episodes as another framework's data, in a module for each framework.

Importing this package imports no framework. A module's own is imported when something of it is
used; where its classes are the framework's own (`torch`, `lightning`), when the module is imported.
"""

import importlib
from typing import Any

import numpy as np

from episodes.episode import Episode, EpisodeBatch
from episodes.errors import UsageError

IMAGES = ("support_images", "query_images")
ON_DEVICE = ("support_images", "support_labels", "query_images", "query_labels", "class_ids")
FIELDS = (*ON_DEVICE, "index", "source")


def framework(module: str, package: str) -> Any:
    """The module of a framework; raises UsageError with the line that installs it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        top = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != top:
            raise
        raise UsageError(f"{top} is not installed: type `pip install {package}`") from None


def arrays(episode: Episode | EpisodeBatch) -> dict[str, np.ndarray]:
    """The fields of an episode or a batch by name, without a copy.

    Images are uint8, all else int64; `index` and `source` of a single episode have no axis.
    """
    values = {name: np.asarray(getattr(episode, name)) for name in FIELDS}
    return {
        name: value if name in IMAGES else value.astype(np.int64, copy=False)
        for name, value in values.items()
    }
