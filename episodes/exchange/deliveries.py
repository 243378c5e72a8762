"""Files from the folder that a URL names, by HTTP or fsspec: resumed, checked, put in place."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from episodes.download.faults import Interrupted, MirrorFailed
from episodes.download.transfer import Retries, Transfer
from episodes.exchange.urls import WEB, file_system, protocol, told, web_address
from episodes.manifest import SourceFile
from episodes.progress import Progress

CHUNK_BYTES = 1 << 20
Deliver = Callable[[SourceFile, Path, Progress | None], None]
"""Brings a file into a folder; raises MirrorFailed, and OSError where the disk fails."""


def deliveries(url: str, retries: Retries) -> Deliver:
    """How the files of the folder `url` are fetched; raises as `file_system`."""
    if protocol(url) in WEB:

        def deliver(file: SourceFile, folder: Path, progress: Progress | None) -> None:
            Transfer(web_address(url, file.name), file, folder, progress, retries).complete()

        return deliver
    remote, path = file_system(url)

    def deliver_by_fsspec(file: SourceFile, folder: Path, progress: Progress | None) -> None:
        FsspecTransfer(remote, f"{path}/{file.name}", file, folder, progress, retries).complete()

    return deliver_by_fsspec


class FsspecTransfer(Transfer):
    """A `Transfer` whose bytes come out of an fsspec file system."""

    def __init__(
        self,
        remote: Any,
        path: str,
        file: SourceFile,
        folder: Path,
        progress: Progress | None,
        retries: Retries,
    ) -> None:
        super().__init__(path, file, folder, progress, retries)
        self.remote = remote

    def _receive(self) -> None:
        have, expected = self._size(), self.file.bytes
        self.resumed = bool(have and expected and self.file.sha256 and have <= expected)
        if self.resumed and have == expected:
            return
        with self.part.open("ab" if self.resumed else "wb") as part:
            for chunk in self._chunks(have if self.resumed else 0):
                part.write(chunk)
                self._tell(part.tell(), expected)
                if expected is not None and part.tell() > expected:
                    break
        if expected is not None and self._size() < expected:
            raise MirrorFailed(f"has {self._size():,} bytes; expected {expected:,}")

    def _chunks(self, start: int) -> Iterator[bytes]:
        try:
            with self.remote.open(self.url, "rb") as source:
                if start:
                    source.seek(start)
                while chunk := source.read(CHUNK_BYTES):
                    yield chunk
        except FileNotFoundError:
            raise MirrorFailed("is not there") from None
        except (PermissionError, IsADirectoryError) as error:
            raise MirrorFailed(f"cannot be read ({told(error)})") from None
        except Exception as error:  # file systems raise what they like
            raise Interrupted(f"broke off ({told(error)})") from None
