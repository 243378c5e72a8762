"""The table of a task file: NPZ arrays or Parquet columns, read and checked."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from episodes.errors import EpisodesError, UsageError

if TYPE_CHECKING:
    import pyarrow

COLUMNS = ("task", "inputs", "targets", "split")
NUMBERS, NAMES = "fiub", "iuU"
LARGEST = np.finfo(np.float32).max


@dataclass(frozen=True)
class TaskTable:
    """n points: `task` [n] (whole numbers or text), `split` [n] (text), `targets` [n, o] and
    `inputs`, numbers [n, d] or images uint8 [n, H, W, C].

    Raises EpisodesError for arrays of other types, shapes or lengths, and for values that are not
    finite in float32.
    """

    task: np.ndarray
    inputs: np.ndarray
    targets: np.ndarray
    split: np.ndarray

    def __post_init__(self) -> None:
        for name in ("inputs", "targets"):
            array = getattr(self, name)
            if array.ndim == 1:
                object.__setattr__(self, name, array[:, np.newaxis])
        _expect(self, "task", NAMES, (1,), "one whole number or text for each point")
        _expect(self, "split", "U", (1,), "one text for each point, such as train or test")
        _expect(self, "targets", NUMBERS, (2,), "numbers [n] or [n, o]")
        _expect(self, "inputs", NUMBERS, (2, 4), "numbers [n, d] or images uint8 [n, H, W, C]")
        if self.inputs.ndim == 4 and self.inputs.dtype != np.uint8:
            raise EpisodesError(f"images in inputs are {self.inputs.dtype}; expected uint8")
        lengths = {name: len(getattr(self, name)) for name in COLUMNS}
        if len(set(lengths.values())) > 1:
            raise EpisodesError(f"the columns differ in length: {lengths}")
        if not len(self.task):
            raise EpisodesError("there are no points; expected at least one")
        for name in ("inputs", "targets"):
            _expect_finite(name, getattr(self, name))


def read_table(path: Path) -> TaskTable:
    """The table in `path`, `.npz` or `.parquet`, of columns task, inputs, targets, split.

    Other columns are not read. Raises UsageError for a file that is not there or of another kind,
    and EpisodesError, naming the file, for one that cannot be read or holds something else.
    """
    readers = {".npz": _read_npz, ".parquet": _read_parquet}
    if path.suffix not in readers:
        raise UsageError(f"{path} ends in {path.suffix!r}; expected .npz or .parquet")
    if not path.is_file():
        raise UsageError(f"{path} is not {'a file' if path.exists() else 'there'}")
    try:
        return TaskTable(**readers[path.suffix](path))
    except EpisodesError as error:
        raise type(error)(f"{path}: {error}") from None


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise EpisodesError("one array, not NPZ: save it with numpy.savez")
            _expect_columns(archive.files)
            columns = {name: archive[name] for name in COLUMNS}
        for name in ("task", "split"):
            if columns[name].dtype.kind == "S":
                columns[name] = np.char.decode(columns[name], "utf-8")
        return columns
    except EpisodesError:
        raise
    except Exception as error:  # A damaged zip file or array header raises nearly anything.
        if "allow_pickle" in str(error):
            raise EpisodesError(
                "not an NPZ file, or it has Python objects, which are not read: save numbers and "
                "text as arrays of their own types"
            ) from None
        raise EpisodesError(f"cannot be read as NPZ: {_first_line(error)}") from None


def _read_parquet(path: Path) -> dict[str, np.ndarray]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError:
        raise UsageError("Parquet needs pyarrow: type `pip install pyarrow`") from None
    try:
        with parquet.ParquetFile(path) as file:
            _expect_columns(file.schema_arrow.names)
            table = file.read(list(COLUMNS))
        return {name: _dense(name, table.column(name)) for name in COLUMNS}
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise EpisodesError(f"cannot be read as Parquet: {_first_line(error)}") from None


def _dense(name: str, column: "pyarrow.ChunkedArray") -> np.ndarray:
    """The column as one array [n, ...]; lists, in lists or not, are axes of one length each."""
    import pyarrow
    from pyarrow import compute, types

    def without_gaps(values: pyarrow.Array) -> pyarrow.Array:
        if values.null_count:
            raise EpisodesError(f"{name} has {values.null_count} empty cells; expected none")
        return values

    values, shape = without_gaps(column.combine_chunks()), [len(column)]
    if isinstance(values.type, pyarrow.FixedShapeTensorType):
        return values.to_numpy_ndarray()
    while _is_list(values.type):
        lengths = compute.min_max(compute.list_value_length(values)).as_py()
        if lengths["min"] != lengths["max"]:
            raise EpisodesError(f"{name} has lists of {lengths['min']} to {lengths['max']} values")
        shape.append(lengths["max"] or 0)
        values = without_gaps(values.flatten())
    if types.is_dictionary(values.type):
        values = values.dictionary_decode()
    array = values.to_numpy(zero_copy_only=False)
    return (array.astype(str) if array.dtype == object else array).reshape(shape)


def _is_list(kind: "pyarrow.DataType") -> bool:
    from pyarrow import types

    return types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)


def _expect_columns(found: list[str]) -> None:
    if missing := [name for name in COLUMNS if name not in found]:
        columns = ", ".join(COLUMNS)
        raise EpisodesError(
            f"no {' and no '.join(missing)} among the columns {', '.join(found) or '(none)'}; "
            f"expected {columns}"
        )


def _expect(table: TaskTable, name: str, kinds: str, axes: tuple[int, ...], expected: str) -> None:
    array = getattr(table, name)
    if array.dtype.kind not in kinds or array.ndim not in axes or 0 in array.shape[1:]:
        found = f"{array.dtype} {list(array.shape)}"
        raise EpisodesError(f"{name} is {found}; expected {expected}")


def _expect_finite(name: str, array: np.ndarray) -> None:
    is_finite = np.abs(array) <= LARGEST if array.dtype.kind == "f" else np.True_
    if not is_finite.all():
        row = int(np.argwhere(~is_finite)[0, 0])
        raise EpisodesError(f"{name} of point {row} is no finite float32; leave out such points")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
