"""Where stores live: EPISODES_HOME, else $XDG_CACHE_HOME/episodes, else ~/.cache/episodes."""

import os
from pathlib import Path


def home() -> Path:
    """The folder that holds `downloads/` and `stores/`, read from the environment at each call."""
    if configured := os.environ.get("EPISODES_HOME"):
        return Path(configured).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "episodes"


def stores(root: Path | None = None) -> Path:
    """The folder of the prepared stores under `root` (default: `home()`)."""
    return (root or home()) / "stores"


def downloads(root: Path | None = None) -> Path:
    """The folder of the fetched archives under `root` (default: `home()`)."""
    return (root or home()) / "downloads"
