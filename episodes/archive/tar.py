"""The files of a tar as they pass by: one pass forwards, in memory that does not grow.

The standard library's TarFile ends quietly at a damaged header, believes the sizes of long names,
and keeps every header; so only its parsing of one header is used here.
"""

import lzma
import re
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from episodes.archive.kinds import not_whole, what_it_is
from episodes.archive.member import (
    FETCH_AGAIN,
    Content,
    Member,
    Readable,
    reason,
    refusal,
    safe_name,
    shown,
)
from episodes.errors import EpisodesError

BLOCK = tarfile.BLOCKSIZE
CHUNK = 1 << 20
MAX_PADDING = 1 << 22  # after the end mark; writers fill a record, 10 KB as a rule
MAX_EXTRA_BYTES = 1 << 20  # of a long name or of extended attributes
MAX_EXTRA_HEADERS = 8  # before one file
SIZE = re.compile(rb"[0-9]{1,18}")
FAULTS = (zlib.error, lzma.LZMAError, EOFError, OSError)
EXTENDED = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
EXTRA = (*EXTENDED, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
KINDS = {
    tarfile.LNKTYPE: "a hard link",
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a pipe",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
}


def tar_members(stream: Readable, origin: str, whole: bool = True) -> Iterator[Member]:
    """The files of the uncompressed tar that `stream` reads, forwards only.

    Some writers leave tar's end mark out. Then the end of `stream` is the end of the tar if it is
    known to be `whole`, because it raises where its own source is cut: so does a member's stream,
    by its size, and a decompressor, by its checksum. Raises EpisodesError, naming `origin`, for
    unsafe entries, for damage, and for anything but zeros after the end mark.
    """
    return _walk(_Tape(stream, origin), whole)


def tar_file_members(path: Path) -> Iterator[Member]:
    """The files of the uncompressed tar `path`; what is not read is passed over by seeking.

    A file without tar's end mark is refused before the first member: it was most likely cut.
    """
    with path.open("rb", buffering=1 << 16) as file:
        length = file.seek(0, 2)
        file.seek(max(length - BLOCK, 0))
        if file.read(BLOCK).strip(b"\0"):
            raise not_whole(path)
        file.seek(0)
        yield from _walk(_FileTape(file, str(path), length), whole=False)


class _Tape:
    """A stream that is read forwards."""

    def __init__(self, stream: Readable, origin: str) -> None:
        self.origin = origin
        self.position = 0
        self._stream = stream

    def read(self, count: int) -> bytes:
        """At most `count` bytes; none only at the end."""
        try:
            piece = self._stream.read(count)
        except FAULTS as error:
            raise self.damage(reason(error)) from None
        self.position += len(piece)
        return piece

    def exactly(self, count: int) -> bytes:
        """`count` bytes, or fewer where the stream ends."""
        pieces = [self.read(count)]
        while pieces[-1] and (missing := count - sum(map(len, pieces))):
            pieces.append(self.read(missing))
        return b"".join(pieces)

    def skip(self, count: int) -> None:
        end = self.position + count
        while self.position < end:
            if not self.read(min(CHUNK, end - self.position)):
                raise self.damage("it ends inside an entry")

    def holds(self, count: int) -> bool:
        """Whether `count` more bytes may be there."""
        return True

    def close(self) -> None:
        """Nothing: the tape goes on after each of its files."""

    def damage(self, why: str) -> EpisodesError:
        return EpisodesError(
            f"{self.origin} is truncated or damaged ({why}, at byte {self.position}): {FETCH_AGAIN}"
        )


class _FileTape(_Tape):
    """A file, in which what is passed over is not read."""

    def __init__(self, file: BinaryIO, origin: str, length: int) -> None:
        super().__init__(file, origin)
        self._file = file
        self._length = length

    def skip(self, count: int) -> None:
        self.position = self._file.seek(self.position + count)

    def holds(self, count: int) -> bool:
        return self.position + count <= self._length


def _walk(tape: _Tape, whole: bool) -> Iterator[Member]:
    while (header := _next_header(tape, whole)) is not None:
        if header.isdir():
            continue
        if header.type not in FILES:
            kind = KINDS.get(header.type, f"of the unknown tar type {header.type!r}")
            raise refusal(tape.origin, header.name, kind)
        name = safe_name(tape.origin, header.name)
        padded = header.size + -header.size % BLOCK
        if not tape.holds(padded):
            raise tape.damage(f"it ends inside the entry {shown(name)} of {header.size} bytes")
        end = tape.position + padded
        where = f"{tape.origin}: the entry {shown(name)}"
        with Content(lambda: tape, header.size, where) as content:
            yield Member(name, header.size, tape.origin, content)
        tape.skip(end - tape.position)


def _next_header(tape: _Tape, whole: bool) -> tarfile.TarInfo | None:
    """The next entry's header with its full name and size, or None at the tar's end."""
    name: str | None = None
    records: dict[bytes, bytes] = {}
    for number in range(MAX_EXTRA_HEADERS):
        block = tape.exactly(BLOCK)
        if not block and whole and tape.position and not number:
            return None
        if not block.strip(b"\0"):
            _check_end(tape, block)
            return None
        header = _parse(tape, block)
        if header.type not in EXTRA:
            return _completed(tape, header, name, records)
        payload = _payload(tape, header)
        if header.type == tarfile.GNUTYPE_LONGNAME:
            name = payload.split(b"\0", 1)[0].decode("utf-8", "replace")
        elif header.type in EXTENDED:
            records = _extended(tape, payload)
    raise tape.damage(f"more than {MAX_EXTRA_HEADERS} headers before one file")


def _parse(tape: _Tape, block: bytes) -> tarfile.TarInfo:
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "replace")
    except tarfile.HeaderError as error:
        if tape.position <= BLOCK:
            raise EpisodesError(
                f"{tape.origin} holds {what_it_is(block)}, not a tar archive: {FETCH_AGAIN}"
            ) from None
        raise tape.damage(reason(error)) from None
    if header.size < 0:
        raise tape.damage(f"the entry {shown(header.name)} claims {header.size} bytes")
    return header


def _payload(tape: _Tape, header: tarfile.TarInfo) -> bytes:
    """What follows a header that describes the next one."""
    if header.size > MAX_EXTRA_BYTES:
        raise tape.damage(f"a name or its attributes claim {header.size} bytes")
    padded = tape.exactly(header.size + -header.size % BLOCK)
    if len(padded) < header.size:
        raise tape.damage("it ends inside a name")
    return padded[: header.size]


def _extended(tape: _Tape, payload: bytes) -> dict[bytes, bytes]:
    """The records `LENGTH KEY=VALUE\\n` of a pax header."""
    records = {}
    payload = payload.rstrip(b"\0")
    start = 0
    while start < len(payload):
        digits = payload[start : start + 8].split(b" ", 1)[0]
        end = start + int(digits) if digits.isdigit() else start
        key, equals, value = payload[start + len(digits) + 1 : max(end - 1, start)].partition(b"=")
        if not equals or end > len(payload):
            raise tape.damage("an extended header that cannot be understood")
        records[key] = value
        start = end
    return records


def _completed(
    tape: _Tape, header: tarfile.TarInfo, name: str | None, records: dict[bytes, bytes]
) -> tarfile.TarInfo:
    """The header with what the extra headers before it say of its name and size."""
    if b"path" in records:
        name = records[b"path"].decode("utf-8", "replace")
    if name is not None:
        header.name = name
    if b"size" in records:
        if not SIZE.fullmatch(records[b"size"]):
            raise tape.damage(f"the entry {shown(header.name)} has a size that is not a number")
        header.size = int(records[b"size"])
    if any(key.startswith(b"GNU.sparse") for key in records):
        header.type = tarfile.GNUTYPE_SPARSE
    return header


def _check_end(tape: _Tape, mark: bytes) -> None:
    """Read on from the end mark; raises EpisodesError unless a few zeros follow, and nothing else.

    A download that was laid out beforehand and not filled has zeros where files should be.
    """
    if not mark:
        raise tape.damage("it ends without tar's end mark")
    padding = 0
    while piece := tape.read(CHUNK):
        padding += len(piece)
        if piece.strip(b"\0"):
            raise tape.damage("something follows tar's end mark")
        if padding > MAX_PADDING:
            raise tape.damage("zeros in place of files")
