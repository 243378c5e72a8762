"""Whether an export may be put where it is wanted."""

from collections.abc import Callable, Collection
from pathlib import Path

from episodes.errors import UsageError


def refuse_place(folder: Path, force: bool, strangers: Callable[[Path], Collection[str]]) -> None:
    """Raises UsageError where something is there that may not be replaced.

    `strangers` names what in the folder of an export is no part of it; it is asked where `force`
    would replace one.
    """
    if not folder.exists():
        return
    if not force:
        raise UsageError(
            f"{folder} is there already: choose another folder, or add --force to replace an export"
        )
    if others := strangers(folder):
        raise UsageError(
            f"{folder} holds {min(others)}, which is no part of an export: choose another folder"
        )
