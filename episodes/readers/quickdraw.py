"""Quick, Draw!'s bitmaps: for each class a file `CLASS.npy` with an array uint8 [drawings, 784].

They can be used where they lie; `records` is for those who want a copy.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from episodes.errors import EpisodesError
from episodes.manifest import Manifest, Source
from episodes.readers import PixelArray, Record, locate

EDGE = 28


def arrays(manifest: Manifest, source: Source, folder: Path) -> Iterator[PixelArray]:
    """The array of each class, in the order of the source's files.

    Raises EpisodesError for a file that is missing, is no such array, or has another length.
    """
    for file in source.files:
        path = locate(file, folder)
        offset, drawings = _header(path)
        found, expected = path.stat().st_size, offset + drawings * EDGE * EDGE
        if found != expected:
            raise EpisodesError(
                f"{path} has {found} bytes for {drawings:,} drawings; expected {expected}: "
                "fetch it again"
            )
        yield PixelArray(path.stem, path, offset, drawings)


def records(manifest: Manifest, source: Source, folder: Path, boxes: bool) -> Iterator[Record]:
    """Every drawing, uint8 [28, 28], ink bright on 0, in the files' order; its id is its place.

    Raises EpisodesError as `arrays` does.
    """
    for array in arrays(manifest, source, folder):
        if array.rows:
            drawings = np.memmap(array.path, np.uint8, "r", array.offset, (array.rows, EDGE, EDGE))
            for place, drawing in enumerate(drawings):
                yield Record(array.class_name, str(place), np.asarray(drawing))


def _header(path: Path) -> tuple[int, int]:
    """Where the array in `path` begins, in bytes, and how many drawings it has."""
    with path.open("rb") as file:
        try:
            np.lib.format.read_magic(file)
            shape, by_columns, dtype = np.lib.format.read_array_header_1_0(file)
        except Exception:  # a header is parsed as Python, and fails in as many ways
            raise EpisodesError(f"{path} is no .npy file: fetch it again") from None
        if by_columns or dtype != np.uint8 or len(shape) != 2 or shape[1] != EDGE * EDGE:
            raise EpisodesError(
                f"{path} has an array {dtype} {list(shape)}; "
                f"expected uint8 [drawings, {EDGE * EDGE}]: fetch it again"
            )
        return file.tell(), shape[0]
