"""Episodes as Arrow record batches, a row an episode, of types that need no extension to read."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from episodes.export.description import stream_facts
from episodes.export.naming import ARRAYS, LISTS, NamedBatch, Names
from episodes.stream import Stream

if TYPE_CHECKING:
    import pyarrow

FILE = "episodes.arrow"
END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"


def arrow_stream(stream: Stream, batches: Iterable[NamedBatch]) -> Iterator[memoryview]:
    """The episodes as an Arrow IPC stream, piece by piece."""
    for number, record_batch in enumerate(_record_batches(stream, batches)):
        if number == 0:
            yield memoryview(record_batch.schema.serialize())
        yield memoryview(record_batch.serialize())
    yield memoryview(END_OF_STREAM)


def write_arrow(
    folder: Path, stream: Stream, batches: Iterable[NamedBatch]
) -> Iterator[tuple[str, int]]:
    """Write the episodes into `folder` as one Arrow IPC file, and yield its name and number."""
    import pyarrow

    writer, written = None, 0
    with pyarrow.OSFile(str(folder / FILE), "wb") as file:
        for record_batch in _record_batches(stream, batches):
            writer = writer or pyarrow.ipc.new_file(file, record_batch.schema)
            writer.write_batch(record_batch)
            written += record_batch.num_rows
        if writer is not None:
            writer.close()
    yield FILE, written


def _record_batches(
    stream: Stream, batches: Iterable[NamedBatch]
) -> "Iterator[pyarrow.RecordBatch]":
    """Record batches of a few episodes; the shapes of lists that are arrays are field metadata."""
    import pyarrow

    facts = {"episodes": json.dumps(stream_facts(stream))}
    for batch, names in batches:
        columns: dict[str, tuple[Any, dict[str, str] | None]] = {
            "index": (pyarrow.array([each.index for each in names], pyarrow.int64()), None),
            "source": (pyarrow.array([each.source for each in names], pyarrow.int64()), None),
        }
        for name in ARRAYS:
            values = getattr(batch, name)
            shape = json.dumps(values.shape[1:])
            columns[name] = (_fixed_size_list(values), {"shape": shape})
        for name in LISTS:
            columns[name] = (_list_of_strings(names, name), None)
        fields = [
            pyarrow.field(name, column.type, nullable=False, metadata=metadata)
            for name, (column, metadata) in columns.items()
        ]
        yield pyarrow.record_batch(
            [column for column, _ in columns.values()], schema=pyarrow.schema(fields, facts)
        )


def _fixed_size_list(values: np.ndarray) -> "pyarrow.FixedSizeListArray":
    """The array [n, ...] as n lists of all its other values."""
    import pyarrow

    flat = pyarrow.array(np.ascontiguousarray(values).reshape(-1))
    return pyarrow.FixedSizeListArray.from_arrays(flat, int(np.prod(values.shape[1:])))


def _list_of_strings(names: list[Names], attribute: str) -> "pyarrow.ListArray":
    import pyarrow

    lists = [getattr(each, attribute) for each in names]
    return pyarrow.array(lists, pyarrow.list_(pyarrow.string()))
