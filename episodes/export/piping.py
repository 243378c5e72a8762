"""Episodes into a pipe: bytes to standard output, until the reader has enough."""

import errno
import os
import sys
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from episodes.errors import UsageError, unknown_name
from episodes.export.naming import named_batches
from episodes.stream import Stream

STREAMED = ("tar", "arrow")
READER_IS_GONE = {errno.EPIPE, errno.ECONNRESET, *([errno.EINVAL] if os.name == "nt" else [])}


def streamed(
    stream: Stream, format: str, start: int = 0, stop: int | None = None, threads: int = 1
) -> Iterator[bytes | memoryview]:
    """Episodes `start` to before `stop`, without end if that is None, as a tar or an Arrow stream.

    The pieces are to be written one after the other, each before the next one is asked for. Raises
    UsageError for an unknown format, and for a range without episodes.
    """
    if format not in STREAMED:
        raise unknown_name("format", format, STREAMED)
    if start < 0 or (stop is not None and stop <= start):
        raise UsageError(f"start {start}, stop {stop}: there are no episodes between them")
    batches = named_batches(stream, start, stop, threads)
    if format == "tar":
        from episodes.export.tar import tar_stream

        return tar_stream(batches)
    from episodes.export.arrow import arrow_stream

    return arrow_stream(stream, batches)


def standard_output() -> BinaryIO:
    """Where bytes go; raises UsageError where it is a terminal, or closed."""
    if sys.stdout is None:
        raise UsageError("standard output is closed: pipe the episodes on, or into a file")
    if sys.stdout.isatty():
        raise UsageError(
            "episodes are bytes, which a terminal does not show: pipe them on "
            "(`episodes stream ... | program`), or into a file (`> episodes.tar`)"
        )
    return sys.stdout.buffer


def pour(pieces: Iterable[bytes | memoryview], out: BinaryIO) -> None:
    """Write `pieces` to `out`, which has a file descriptor, until it is done or the reader is gone.

    Raises OSError where writing fails for another reason.
    """
    try:
        for piece in pieces:
            out.write(piece)
        out.flush()
    except BaseException as error:
        # What is left in the buffer would be tried again, and fail, when Python exits.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, out.fileno())
        os.close(nowhere)
        if not (isinstance(error, OSError) and error.errno in READER_IS_GONE):
            raise
