"""One file of an archive or folder, whose bytes are read once, forwards, as they pass by."""

import io
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, Protocol

from episodes.errors import EpisodesError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MAX_MEMBER_BYTES = 1 << 30
READ_AHEAD = 1 << 18
LONGEST_NAME = 4096
SHOWN = 120
FETCH_AGAIN = "fetch the archive again"
DRIVE = re.compile(r"[A-Za-z]:")


class Readable(Protocol):
    """What bytes are read from, forwards."""

    def read(self, count: int, /) -> bytes: ...


class Source(Readable, Protocol):
    """What is closed when it was read."""

    def close(self) -> None: ...


class Content(io.RawIOBase):
    """The next `size` bytes of what `source` opens, as a stream that ends with them.

    It can be claimed once, until it is closed. Raises EpisodesError, starting with `where`, for
    each of the `faults` and where there are fewer bytes.
    """

    def __init__(
        self,
        source: Callable[[], Source],
        size: int,
        where: str,
        faults: tuple[type[Exception], ...] = (),
        remedy: str = FETCH_AGAIN,
    ) -> None:
        self.left = size
        self._source = source
        self._where = where
        self._faults = faults
        self._remedy = remedy
        self._opened: Source | None = None

    def claim(self) -> "Content":
        """This stream, at its start; raises ValueError for a second claim, or a late one."""
        if self.closed or self._opened is not None:
            raise ValueError(f"{self._where} was read already, or its turn is over")
        try:
            self._opened = self._source()
        except self._faults as error:
            raise self._fault(reason(error)) from None
        return self

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer).cast("B")
        piece = self._next(len(view))
        view[: len(piece)] = piece
        return len(piece)

    def readall(self) -> bytes:
        pieces = []
        while self.left:
            pieces.append(self._next(self.left))
        return b"".join(pieces)

    def close(self) -> None:
        if self._opened is not None and not self.closed:
            self._opened.close()
        super().close()

    def _next(self, count: int) -> bytes:
        """At most `count` bytes; none only at the end."""
        if self.closed or self._opened is None:
            raise ValueError(f"{self._where}: its turn is over")
        wanted = min(count, self.left)
        try:
            piece = self._opened.read(wanted)
        except self._faults as error:
            raise self._fault(reason(error)) from None
        if wanted and not piece:
            raise self._fault(f"it ends {self.left} bytes early")
        self.left -= len(piece)
        return piece

    def _fault(self, why: str) -> EpisodesError:
        return EpisodesError(f"{self._where} cannot be read ({why}): {self._remedy}")


@dataclass(frozen=True)
class Member:
    """A file: its POSIX path inside the archive, its size in bytes, the archive, and its bytes.

    The bytes can be had once, by `read` or by `open`, until the next member is asked for.
    """

    name: str
    size: int
    origin: str
    _content: Content = field(repr=False, compare=False)

    def read(self, limit: int = MAX_MEMBER_BYTES) -> bytes:
        """The whole file; raises EpisodesError for more than `limit` bytes and for damage."""
        if self.size > limit:
            raise EpisodesError(
                f"{self.origin}: the entry {shown(self.name)} claims {self.size} bytes; "
                f"expected {limit} at most"
            )
        with self._content.claim() as content:
            return content.readall()

    def open(self) -> BinaryIO:
        """A stream of the file, of any size, that raises EpisodesError where it meets damage."""
        return io.BufferedReader(self._content.claim(), READ_AHEAD)


def safe_name(origin: str, name: str) -> str:
    """The path of an entry without `.` and doubled slashes; raises EpisodesError if it is unsafe.

    Unsafe are paths that could name a file outside the folder of extraction on some system.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or not path.parts or ".." in path.parts or DRIVE.match(name):
        raise EpisodesError(
            f"{origin}: the entry {shown(name)} climbs out of its folder: do not trust this archive"
        )
    if len(name) > LONGEST_NAME:
        raise EpisodesError(
            f"{origin}: the entry {shown(name)} has a name of {len(name)} characters; "
            f"expected {LONGEST_NAME} at most: {FETCH_AGAIN}"
        )
    if "\\" in name:
        raise EpisodesError(
            f"{origin}: the entry {shown(name)} has backslashes in its name; expected slashes: "
            "if you trust the archive, extract it and name the folder"
        )
    return str(path)


def refusal(origin: str, name: str, kind: str) -> EpisodesError:
    """The error for an entry that is not a file."""
    return EpisodesError(
        f"{origin}: the entry {shown(name)} is {kind}; expected a file: "
        "if you trust the archive, extract it and name the folder"
    )


def shown(name: str) -> str:
    """A name as it stands in a message: quoted, and not longer than a line."""
    return repr(name if len(name) <= SHOWN else f"{name[:SHOWN]}...")


def reason(error: Exception) -> str:
    """What an exception says, in one line that is not too long."""
    said = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return " ".join(said.split())[:SHOWN] or type(error).__name__
