"""Read-only access to the members of a zip archive, or of its extracted folder."""

import hashlib
import lzma
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Protocol

from episodes.errors import EpisodesError

MAX_MEMBER_BYTES = 1 << 30
DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    RuntimeError,  # NotImplementedError, and what an encrypted entry raises
    ValueError,  # UnicodeDecodeError
)


class Members(Protocol):
    """The files of an archive by their path inside it."""

    origin: Path

    def names(self) -> list[str]: ...

    def read(self, name: str) -> bytes: ...


class FolderMembers:
    """The files below `origin`, named as they would be in the archive."""

    def __init__(self, origin: Path) -> None:
        self.origin = origin

    def names(self) -> list[str]:
        paths = (path for path in self.origin.rglob("*") if path.is_file())
        return sorted(path.relative_to(self.origin.parent).as_posix() for path in paths)

    def read(self, name: str) -> bytes:
        try:
            return (self.origin.parent / name).read_bytes()
        except OSError as error:
            raise EpisodesError(
                f"cannot read {self.origin.parent / name}: {error.strerror}"
            ) from None


class ZipMembers:
    """The files of the zip archive `origin`."""

    def __init__(self, origin: Path, archive: zipfile.ZipFile) -> None:
        self.origin = origin
        self._archive = archive

    def names(self) -> list[str]:
        infos = [info for info in self._archive.infolist() if not info.is_dir()]
        for info in infos:
            _refuse_unsafe(self.origin, info)
        return [info.filename for info in infos]

    def read(self, name: str) -> bytes:
        try:
            return self._archive.read(name)
        except DAMAGE as error:
            raise EpisodesError(
                f"{self.origin}: the entry {name} cannot be read ({error}): fetch the archive again"
            ) from None


@contextmanager
def open_members(path: Path) -> Iterator[Members]:
    """The members of `path`, a zip archive or a folder; raises EpisodesError if it is neither."""
    if path.is_dir():
        yield FolderMembers(path)
        return
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, RuntimeError, ValueError):
        raise EpisodesError(
            f"{path} ({path.stat().st_size} bytes) is {_what_it_is(path)}, "
            "not a whole zip archive: fetch it again"
        ) from None
    except OSError as error:
        raise EpisodesError(f"cannot read {path}: {error.strerror}") from None
    with archive:
        yield ZipMembers(path, archive)


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _refuse_unsafe(origin: Path, info: zipfile.ZipInfo) -> None:
    path = PurePosixPath(info.filename.replace("\\", "/"))
    if path.is_absolute() or not path.parts or ".." in path.parts or ":" in path.parts[0]:
        raise EpisodesError(
            f"{origin}: the entry {info.filename!r} climbs out of its folder: "
            "do not trust this archive"
        )
    if stat.S_ISLNK(info.external_attr >> 16):
        raise EpisodesError(f"{origin}: the entry {info.filename!r} is a link; expected a file")
    if info.file_size > MAX_MEMBER_BYTES:
        raise EpisodesError(
            f"{origin}: the entry {info.filename!r} claims {info.file_size} bytes; "
            f"expected {MAX_MEMBER_BYTES} at most"
        )


def _what_it_is(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(512).lstrip()
    if start.startswith(b"PK"):
        return "a truncated or damaged zip"
    if start.startswith(b"<"):
        return "a web page"
    return "something else"
