"""The framing of TFRecord files: length, its masked CRC-32C, data, the data's masked CRC-32C.

Numbers are little-endian, the length 8 bytes wide, each CRC 4.
"""

import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from episodes.errors import EpisodesError
from episodes.tfrecord.crc32c import crc32c, masked

LENGTH = struct.Struct("<Q")
CRC = struct.Struct("<I")
HEADER = LENGTH.size + CRC.size
OVERHEAD = HEADER + CRC.size
READ_AT_ONCE = 2 << 20


class Record(NamedTuple):
    """The data of one record, and the byte of the file at which its frame begins."""

    offset: int
    data: memoryview


def framed(records: Sequence[bytes]) -> bytes:
    """The records as they stand in a TFRecord file."""
    if not records:
        return b""
    lengths = np.array([len(record) for record in records], np.int64)
    content = b"".join([*map(LENGTH.pack, lengths.tolist()), *records])
    heads = np.arange(len(records)) * LENGTH.size
    bodies = len(records) * LENGTH.size + np.cumsum(lengths) - lengths
    crcs = masked(
        crc32c(
            content,
            np.concatenate([heads, bodies]),
            np.concatenate([np.full_like(lengths, LENGTH.size), lengths]),
        )
    )
    of_lengths, of_data = crcs[: len(records)].tolist(), crcs[len(records) :].tolist()
    return b"".join(
        part
        for record, length_crc, data_crc in zip(records, of_lengths, of_data, strict=True)
        for part in (LENGTH.pack(len(record)), CRC.pack(length_crc), record, CRC.pack(data_crc))
    )


def read_records(path: Path, at_once: int = READ_AT_ONCE) -> Iterator[Record]:
    """The records of the TFRecord file `path` in order, all checksums verified.

    `at_once` bytes are read at once, or one record where that is longer. Raises EpisodesError
    naming the file, the record and its first byte where it is damaged or cut short.
    """
    try:
        with path.open("rb") as file:
            size, offset, number = os.fstat(file.fileno()).st_size, 0, 0
            wanted = at_once
            while offset < size:
                file.seek(offset)
                block = file.read(wanted)
                where = f"{path}: record {number} at byte {offset}"
                starts, lengths = _whole_frames(block)
                if not len(starts):
                    wanted = _length_of_frame(block, where, size - offset)
                    continue
                bad, what = _first_damaged(block, starts, lengths)
                if bad is not None:
                    raise EpisodesError(
                        f"{path}: record {number + bad} at byte {offset + int(starts[bad])} is "
                        f"damaged: the CRC-32C of its {what} is not the one that is written: "
                        "get the file again"
                    )
                view = memoryview(block)
                for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
                    first = start + HEADER
                    yield Record(offset + start, view[first : first + length])
                number += len(starts)
                offset += int(starts[-1] + lengths[-1]) + OVERHEAD
                wanted = at_once
    except OSError as error:
        raise EpisodesError(f"cannot read {path}: {error.strerror or error}") from None


def _whole_frames(block: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Where the frames that are whole in `block` begin, and their data's lengths, int64 [n].

    The lengths are taken as they are written, to be checked next.
    """
    starts, lengths = [], []
    at, last = 0, len(block) - OVERHEAD
    while at <= last:
        (length,) = LENGTH.unpack_from(block, at)
        if length > last - at:
            break
        starts.append(at)
        lengths.append(length)
        at += OVERHEAD + length
    return np.array(starts, np.int64), np.array(lengths, np.int64)


def _first_damaged(block: bytes, starts: np.ndarray, lengths: np.ndarray) -> tuple[int | None, str]:
    """The first frame with a CRC that is not its own, None where there is none; of what it is."""
    written = np.ndarray((len(block) - CRC.size + 1,), "<u4", block, strides=(1,))
    sizes = np.full_like(lengths, LENGTH.size)
    good_lengths = masked(crc32c(block, starts, sizes)) == written[starts + LENGTH.size]
    bodies = starts + HEADER
    good_data = masked(crc32c(block, bodies, lengths)) == written[bodies + lengths]
    if (good_lengths & good_data).all():
        return None, ""
    bad = int(np.argmin(good_lengths & good_data))
    return bad, "data" if good_lengths[bad] else "length"


def _length_of_frame(block: bytes, where: str, left: int) -> int:
    """How much to read of the frame that `block` begins with and does not hold whole.

    Raises EpisodesError where its length is damaged, and where more than is `left` of the file.
    """
    needed = HEADER
    if len(block) >= HEADER:
        (crc,) = CRC.unpack_from(block, LENGTH.size)
        if masked(crc32c(block, np.array([0]), np.array([LENGTH.size])))[0] != crc:
            raise EpisodesError(
                f"{where} is damaged: the CRC-32C of its length is not the one that is written: "
                "get the file again"
            )
        needed = int(LENGTH.unpack_from(block)[0]) + OVERHEAD
    if needed > left:
        raise EpisodesError(f"{where} is cut short: the file ends {left} bytes on: get it again")
    return needed
