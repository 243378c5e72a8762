"""Where stores live: EPISODES_HOME, else $XDG_CACHE_HOME/episodes, else ~/.cache/episodes."""

import os
from pathlib import Path

from episodes.errors import UsageError


def home() -> Path:
    """The folder that holds `downloads/` and `stores/`, read from the environment at each call."""
    if configured := os.environ.get("EPISODES_HOME"):
        try:
            return Path(configured).expanduser()
        except RuntimeError:
            raise UsageError(f"EPISODES_HOME is {configured!r}: there is no such user") from None
    cache = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(cache) if cache else Path.home() / ".cache") / "episodes"
    except RuntimeError:
        raise UsageError("there is no home folder: set EPISODES_HOME") from None


def stores(root: Path | None = None) -> Path:
    """The folder of the prepared stores under `root` (default: `home()`)."""
    return Path(root or home()) / "stores"


def prepared(root: Path | None = None) -> list[str]:
    """The names of the stores under `root` (default: `home()`), in alphabetical order."""
    described = stores(root).glob("*/store.json")
    return sorted(path.parent.name for path in described if not path.parent.name.startswith("."))


def downloads(root: Path | None = None) -> Path:
    """The folder of the fetched archives under `root` (default: `home()`)."""
    return Path(root or home()) / "downloads"
