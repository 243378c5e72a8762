"""The files below a folder, named as they would be in an archive of it."""

import os
import stat
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

from episodes.archive.member import Content, Member, reason
from episodes.errors import EpisodesError

REMEDY = "check that it is there, and its permissions"


def folder_members(folder: Path) -> Iterator[Member]:
    """The files below `folder` in order of their paths; their names begin with the folder's own.

    Links are followed: it is the user's own disk. One that leads nowhere is a member that cannot
    be read; one that leads back up, a pipe or a device is passed over. Raises EpisodesError for a
    folder that cannot be listed.
    """
    top = os.path.abspath(folder)
    waiting: list[tuple[str, frozenset[tuple[int, int]]]] = [(top, frozenset())]
    while waiting:
        path, above = waiting.pop()
        try:
            status = os.stat(path)
        except OSError:
            yield from _member(path, top, 0)
            continue
        if stat.S_ISREG(status.st_mode):
            yield from _member(path, top, status.st_size)
        identity = (status.st_dev, status.st_ino)
        if stat.S_ISDIR(status.st_mode) and identity not in above:
            inside = above | {identity}
            waiting += [(os.path.join(path, name), inside) for name in _names(path)]


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder), reverse=True)
    except OSError as error:
        raise EpisodesError(f"cannot read {folder}: {reason(error)}") from None


def _member(path: str, top: str, size: int) -> Iterator[Member]:
    name = os.path.relpath(path, os.path.dirname(top)).replace(os.sep, "/")
    printable = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    with Content(lambda: FileIO(path), size, path, (OSError,), REMEDY) as content:
        yield Member(printable, size, os.path.dirname(top), content)
