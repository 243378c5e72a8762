"""A folder of an fsspec file system, written to and listed, every request tried a few times."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from episodes.download.transfer import Retries
from episodes.errors import EpisodesError
from episodes.exchange.urls import file_system, refused

FINAL = (
    FileNotFoundError,
    IsADirectoryError,
    NotADirectoryError,
    NotImplementedError,
    PermissionError,
)


class RemoteFolder:
    """The folder `url`, which is made; raises as `urls.file_system`.

    Its methods raise EpisodesError, after a few attempts, for what the file system refuses.
    """

    def __init__(self, url: str, retries: Retries) -> None:
        self.url, self._retries = url, retries
        self._files, self._path = file_system(url)
        self._ask(lambda: self._files.makedirs(self._path, exist_ok=True))

    def names(self) -> list[str]:
        """The names of what is in the folder."""
        paths = self._ask(lambda: self._files.ls(self._path, detail=False), absent=())
        inside = (path.rstrip("/") for path in paths)
        return [path.rpartition("/")[2] for path in inside if path != self._path]

    def size(self, name: str) -> int | None:
        """The size of a file; None where it is not there."""
        size: int | None = self._ask(lambda: self._files.size(self._at(name)), absent=None)
        return size

    def read(self, name: str) -> bytes | None:
        """The content of a small file; None where it is not there."""
        content: bytes | None = self._ask(lambda: self._files.cat_file(self._at(name)), absent=None)
        return content

    def write(self, name: str, content: bytes) -> None:
        """Write a small file."""
        self._ask(lambda: self._files.pipe_file(self._at(name), content))

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        self._ask(lambda: self._files.rm_file(self._at(name)), absent=None)

    def put(self, path: Path, name: str, tell: Callable[[int], None]) -> None:
        """Copy the file `path`, telling how far it is; raises EpisodesError if some are missing."""
        from fsspec.callbacks import Callback

        def copy() -> None:
            callback = Callback(hooks={"tell": lambda size, value, **_: tell(value)})
            self._files.put_file(str(path), self._at(name), callback=callback)

        self._ask(copy)
        expected, found = path.stat().st_size, self.size(name)
        if found != expected:
            raise EpisodesError(
                f"{self.url}/{name} has {found} bytes after the copy; expected {expected}: "
                "push again"
            )
        tell(expected)

    def _at(self, name: str) -> str:
        return f"{self._path}/{name}"

    def _ask(self, request: Callable[[], Any], absent: Any = ...) -> Any:
        """The answer to `request`; `absent`, where given, for a file that is not there."""
        wait = self._retries.first_wait
        for attempt in range(1, self._retries.attempts + 1):
            try:
                return request()
            except Exception as error:  # file systems raise what they like
                if isinstance(error, FileNotFoundError) and absent is not ...:
                    return absent
                if attempt == self._retries.attempts or isinstance(error, FINAL):
                    raise refused(self.url, error) from None
            time.sleep(wait)
            wait *= 2
