"""Files of a store as memory maps that notice when the file changes."""

import errno
import mmap
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from episodes.errors import EpisodesError

# Where it can, a map goes without a file descriptor of its own: large stores have many shards.
UNTRACKED: dict[str, Any] = {"trackfd": False} if sys.version_info >= (3, 13) else {}


class MappedFile:
    """A read-only map of a file that must have `expected` bytes.

    Raises EpisodesError, ending in `advice`, where it cannot be read or has another size.
    """

    def __init__(self, path: Path, expected: int, advice: str) -> None:
        self.path, self._expected, self._advice = path, expected, advice
        try:
            self._file = path.open("rb")
            status = os.fstat(self._file.fileno())
            if status.st_size != expected:
                raise EpisodesError(
                    f"the shard {path} has {status.st_size} bytes; expected {expected}: {advice}"
                )
            self.map = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ, **UNTRACKED)
        except OSError as error:
            if error.errno == errno.EMFILE:
                advice = "type `ulimit -n 8192` first, or prepare it with a larger --shard-size"
            to = f" (a link to {os.readlink(path)})" if path.is_symlink() else ""
            raise EpisodesError(
                f"the shard {path}{to} cannot be read: {error.strerror}: {advice}"
            ) from None
        self._modified, self._descriptor = status.st_mtime_ns, self._file.fileno()

    def expect_scattered(self) -> None:
        """Tell the system that rows far smaller than a page are read here and there.

        Else it would read the surroundings of each: of Quick, Draw!'s rows 160 times as much.
        """
        if hasattr(mmap, "MADV_RANDOM"):
            self.map.madvise(mmap.MADV_RANDOM)

    def array(self, dtype: str | type, count: int, offset: int) -> np.ndarray:
        """The `count` values at byte `offset`; raises EpisodesError where they are not inside."""
        try:
            return np.frombuffer(self.map, dtype, count, offset)
        except ValueError:
            raise self.damaged(f"it has no {count} values at byte {offset}") from None

    def damaged(self, what: str) -> EpisodesError:
        """The error for a file whose content contradicts itself."""
        return EpisodesError(f"the shard {self.path} is damaged ({what}): {self._advice}")

    def refuse_shorter(self) -> None:
        """Raises EpisodesError if the file has another size; quicker than `refuse_changed`.

        Call it before each copy: a map of a file that was cut short ends the process with SIGBUS.
        """
        if os.lseek(self._descriptor, 0, os.SEEK_END) != self._expected:
            self.refuse_changed()

    def refuse_changed(self) -> None:
        """Raises EpisodesError if the file is not as it was opened."""
        status = os.fstat(self._descriptor)
        if status.st_size != self._expected or status.st_mtime_ns != self._modified:
            raise EpisodesError(
                f"the shard {self.path} was changed while it was open "
                f"({status.st_size} bytes; expected {self._expected}): {self._advice}"
            )
