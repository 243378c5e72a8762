"""Writing files so that a reader, or a machine that lost power, finds the old one or the new
one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from episodes.disk import sync_folder
from episodes.errors import EpisodesError

TEMPORARY = ".tmp"


def write_whole(path: Path, content: bytes) -> None:
    """Write `content` beside `path`, flush it to the disk, and rename it into place.

    Raises EpisodesError where the disk refuses; `path` is then what it was.
    """
    temporary = path.with_name(path.name + TEMPORARY)
    with writing(path):
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns the system's refusal to write `path` into an EpisodesError."""
    try:
        yield
    except OSError as error:
        raise EpisodesError(
            f"cannot write {path}: {error.strerror or error}: make room, or choose another --out"
        ) from None
