"""A folder that is there whole or not at all: built beside its place, then renamed into it."""

import glob
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from episodes.disk import sync_folder
from episodes.progress import Progress

SECONDS_BEFORE_A_WORD = 1.0


@contextmanager
def exclusive(target: Path, progress: Progress | None = None) -> Iterator[None]:
    """Holds the lock of `target` against other processes, after mending what a kill left behind.

    `progress` is told where another process holds it.

    Raises OSError where the folder around `target` cannot be written.
    """
    from filelock import FileLock, Timeout

    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=target.parent):
        pass  # FileLock would wait for ever where no file can be made
    lock = FileLock(target.parent / f".{target.name}.lock")
    try:
        lock.acquire(timeout=SECONDS_BEFORE_A_WORD)
    except Timeout:
        if progress:
            progress(f"waiting for another process that makes {target.name}", 0, 0)
        lock.acquire()
    try:
        _mend(target)
        yield
    finally:
        lock.release()


def put_back(target: Path) -> None:
    """Put back what was at `target` where its replacement was killed before it took the place."""
    if _left_behind(target, "old"):
        with exclusive(target):
            pass


@contextmanager
def built_beside(target: Path) -> Iterator[Path]:
    """An empty folder that takes the place of `target` when the block ends without an error."""
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.making-", dir=target.parent))
    try:
        yield folder
        sync_folder(folder)
        if target.exists():
            target.rename(tempfile.mkdtemp(prefix=f".{target.name}.old-", dir=target.parent))
        folder.chmod(0o755)
        folder.rename(target)
        sync_folder(target.parent)
    finally:
        _mend(target)


def _mend(target: Path) -> None:
    """Put back what was being replaced, if nothing took its place, and sweep away the rest."""
    for old in _left_behind(target, "old"):
        if not target.exists() and any(old.iterdir()):
            old.rename(target)
    for kind in ("making", "old"):
        for leftover in _left_behind(target, kind):
            shutil.rmtree(leftover, ignore_errors=True)


def _left_behind(target: Path, kind: str) -> list[Path]:
    return sorted(target.parent.glob(f".{glob.escape(target.name)}.{kind}-*"))
