"""Episodes as one HDF5 file of plain contiguous datasets, row i of each being episode i."""

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from episodes.episode import EpisodeBatch
from episodes.export.description import ExportInfo
from episodes.export.naming import ARRAYS, LISTS, NamedBatch, Names, names
from episodes.stream import Stream

FILE = "episodes.h5"
NAMED_AT_ONCE = 256
OVERHEAD = 64 << 10


def write_hdf5(
    folder: Path, info: ExportInfo, stream: Stream, batches: Iterable[NamedBatch]
) -> Iterator[tuple[str, int]]:
    """Write the episodes into `folder` as one HDF5 file, and yield its name and number.

    HDF5 lays the file out; the values are written into it as into any file. HDF5 does not survive a
    disk that is full.
    """
    path, done = folder / FILE, 0
    widths = _widths(stream, info.count)
    offsets: dict[str, int] = {}
    for batch, batch_names in batches:
        values = _values(batch, batch_names, widths)
        offsets = offsets or _lay_out(path, info, values)
        with path.open("r+b") as file:
            for name, rows in values.items():
                file.seek(offsets[name] + done * rows[:1].nbytes)
                file.write(rows.reshape(-1).view(np.uint8).data)
        done += len(batch_names)
    yield FILE, done


def _widths(stream: Stream, count: int) -> dict[str, int]:
    """The bytes in UTF-8 of the longest string of each of LISTS, 1 at least."""
    widths = dict.fromkeys(LISTS, 1)
    for start in range(0, count, NAMED_AT_ONCE):
        for each in names(stream, start, min(NAMED_AT_ONCE, count - start)):
            for name in LISTS:
                longest = max(len(text.encode()) for text in getattr(each, name))
                widths[name] = max(widths[name], longest)
    return widths


def _values(
    batch: EpisodeBatch, batch_names: list[Names], widths: Mapping[str, int]
) -> dict[str, np.ndarray]:
    """The rows of every dataset."""
    values = {name: np.ascontiguousarray(getattr(batch, name)) for name in ARRAYS}
    for name in LISTS:
        texts = [[text.encode() for text in getattr(each, name)] for each in batch_names]
        values[name] = np.array(texts, f"S{widths[name]}")
    for name in ("index", "source"):
        values[name] = np.array([getattr(each, name) for each in batch_names], np.int64)
    return values


def _lay_out(path: Path, info: ExportInfo, values: Mapping[str, np.ndarray]) -> dict[str, int]:
    """Make the file with room for `info.count` rows like `values`; the byte offset of each dataset.

    Nothing is filled in, and nothing in it tells when it was made.
    """
    import h5py

    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    properties.set_obj_track_times(False)
    offsets = {}
    _refuse_full_disk(path.parent, info.count * sum(rows[:1].nbytes for rows in values.values()))
    with h5py.File(path, "w") as file:
        file.attrs.update({"format": info.format, "fingerprint": info.fingerprint})
        for name, rows in values.items():
            kind = h5py.string_dtype("utf-8", rows.itemsize) if rows.dtype.kind == "S" else None
            dataset = h5py.h5d.create(
                file.id,
                name.encode(),
                h5py.h5t.py_create(kind or rows.dtype, logical=True),
                h5py.h5s.create_simple((info.count, *rows.shape[1:])),
                properties,
            )
            offsets[name] = dataset.get_offset()
    return offsets


def _refuse_full_disk(folder: Path, size: int) -> None:
    """Raises OSError where the disk has no room for `size` bytes and HDF5's own."""
    with tempfile.TemporaryFile(dir=folder) as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size + OVERHEAD)
        else:
            file.truncate(size + OVERHEAD)
