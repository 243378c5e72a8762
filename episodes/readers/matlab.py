"""Matrices of numbers in MATLAB 5 files (.mat), plain or compressed.

The layout is that of "MAT-File Format" (The MathWorks): a header of 128 bytes, then elements, each
a tag of type and length, its data, and padding to 8 bytes.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from episodes.errors import EpisodesError

HEADER_BYTES, VERSION = 128, 0x0100
MATRIX, COMPRESSED = 14, 15
TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8"}
NUMERIC_CLASSES = range(6, 16)
MOST_BYTES = 1 << 26


@dataclass(frozen=True)
class Element:
    """The type and the data of one element."""

    kind: int
    data: bytes


def matrix(encoded: bytes, name: str, where: str) -> np.ndarray:
    """The real matrix called `name` in the file `encoded`, in its stored type and its own shape.

    Raises EpisodesError naming `where` for what is no such file, damage, and where there is none.
    """
    try:
        found = _matrices(encoded)
        for element, order in found:
            parts = list(_elements(element.data, order))
            if parts[2].data.decode("ascii") == name:
                return _numbers(parts, order)
    except (ValueError, LookupError, struct.error, zlib.error, TypeError):
        raise EpisodesError(
            f"{where} is no whole MATLAB 5 file of numbers: fetch it again"
        ) from None
    raise EpisodesError(f"{where} has no matrix called {name!r}: fetch it again")


def _matrices(encoded: bytes) -> Iterator[tuple[Element, str]]:
    """The matrices at the file's top, each with the byte order, "<" or ">"."""
    order = {b"IM": "<", b"MI": ">"}[encoded[HEADER_BYTES - 2 : HEADER_BYTES]]
    if struct.unpack_from(f"{order}H", encoded, HEADER_BYTES - 4) != (VERSION,):
        raise ValueError("of another version")
    for element in _elements(encoded[HEADER_BYTES:], order):
        if element.kind == COMPRESSED:
            (element,) = _elements(_inflated(element.data), order)
        if element.kind == MATRIX:
            yield element, order


def _inflated(data: bytes) -> bytes:
    stream = zlib.decompressobj()
    inflated = stream.decompress(data, MOST_BYTES)
    if not stream.eof:
        raise ValueError("cut short, or far too large")
    return inflated


def _elements(data: bytes, order: str) -> Iterator[Element]:
    at = 0
    while at < len(data):
        kind, length = struct.unpack_from(f"{order}II", data, at)
        if kind >> 16:  # a small element: its data are the second half of the tag
            kind, length, start, at = kind & 0xFFFF, kind >> 16, at + 4, at + 8
        else:
            start = at + 8
            at = start + length + (0 if kind == COMPRESSED else -length % 8)
        if start + length > len(data):
            raise ValueError("cut short")
        yield Element(kind, data[start : start + length])


def _numbers(parts: list[Element], order: str) -> np.ndarray:
    """The array of a matrix's parts: flags, dimensions, name, real numbers."""
    flags, dimensions, _, real = parts
    (first,) = struct.unpack_from(f"{order}I", flags.data)
    if first & 0xFF not in NUMERIC_CLASSES:
        raise ValueError("not of numbers")
    shape = np.frombuffer(dimensions.data, f"{order}i4")
    values = np.frombuffer(real.data, order + TYPES[real.kind])
    return values.reshape(shape, order="F")
