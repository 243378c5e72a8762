"""HDF5 shards: contiguous datasets, written through h5py and read through a memory map.

A shard holds `images`, uint8 [rows, H, W, C], and `ids`, fixed-width bytes [rows]. Their offsets in
the file stand in store.json, so that rows are gathered without an HDF5 call.
"""

import errno
import mmap
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from episodes.archive import file_sha256
from episodes.disk import sync_file
from episodes.errors import EpisodesError
from episodes.store.layout import ShardInfo

DEFAULT_SHARD_BYTES = 256 << 20


class ShardWriter:
    """Writes rows into shards of at most `shard_bytes` of pixels each, in order."""

    def __init__(
        self,
        folder: Path,
        image_shape: tuple[int, int, int],
        shard_bytes: int = DEFAULT_SHARD_BYTES,
    ) -> None:
        self._folder = folder
        self._rows_per_shard = max(1, shard_bytes // int(np.prod(image_shape)))
        self._pixels: list[np.ndarray] = []
        self._ids: list[str] = []
        self._shards: list[ShardInfo] = []

    def append(self, ids: Sequence[str], pixels: np.ndarray) -> None:
        """Append rows: their ids and uint8 [len(ids), H, W, C] pixels."""
        self._ids.extend(ids)
        self._pixels.append(pixels)
        while len(self._ids) >= self._rows_per_shard:
            self._write_shard(self._rows_per_shard)

    def finish(self) -> tuple[ShardInfo, ...]:
        """Write what is left and return the description of all shards."""
        if self._ids:
            self._write_shard(len(self._ids))
        return tuple(self._shards)

    def _write_shard(self, rows: int) -> None:
        import h5py

        pixels = np.concatenate(self._pixels)
        ids = np.array([image_id.encode() for image_id in self._ids[:rows]])
        path = self._folder / f"shard-{len(self._shards):05d}.h5"
        try:
            with h5py.File(path, "w") as file:
                images = file.create_dataset("images", data=pixels[:rows])
                names = file.create_dataset("ids", data=ids)
                offsets = images.id.get_offset(), names.id.get_offset()
        except (OSError, RuntimeError) as error:
            raise _disk_error(error) from None
        sync_file(path)
        self._shards.append(
            ShardInfo(
                file=path.name,
                bytes=path.stat().st_size,
                sha256=file_sha256(path),
                rows=rows,
                images_offset=offsets[0],
                ids_offset=offsets[1],
                id_bytes=ids.dtype.itemsize,
            )
        )
        self._pixels, self._ids = [pixels[rows:]], self._ids[rows:]


class MappedShards:
    """The rows of all shards of a store as memory maps that notice when a file changes."""

    def __init__(
        self,
        folder: Path,
        shards: Iterable[ShardInfo],
        image_shape: tuple[int, int, int],
        advice: str,
    ) -> None:
        self._shards = [
            _MappedShard(folder / shard.file, shard, image_shape, advice) for shard in shards
        ]
        rows = [shard.info.rows for shard in self._shards]
        self._starts = np.concatenate(([0], np.cumsum(rows))).astype(np.int64)

    def images(self, rows: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """The images of the int64 `rows` [n], uint8 [n, H, W, C], into `out` where given."""
        self._refuse_absent_rows(rows)
        if len(self._shards) == 1:
            return self._shards[0].images(rows, out)
        if out is None:
            out = np.empty((len(rows), *self._shards[0].pixels.shape[1:]), np.uint8)
        for shard, chosen, local_rows in self._by_shard(rows):
            out[chosen] = shard.images(local_rows)
        return out

    def ids(self, rows: np.ndarray) -> list[str]:
        """The source ids of the int64 `rows` [n]."""
        self._refuse_absent_rows(rows)
        ids = np.empty(len(rows), object)
        for shard, chosen, local_rows in self._by_shard(rows):
            ids[chosen] = shard.ids(local_rows)
        return [image_id.decode() for image_id in ids]

    def _by_shard(
        self, rows: np.ndarray
    ) -> Iterator[tuple["_MappedShard", np.ndarray, np.ndarray]]:
        """Each shard with some of `rows`: where they stand in `rows`, and their rows in it."""
        owner = np.searchsorted(self._starts, rows, side="right") - 1
        for index in np.unique(owner):
            chosen = np.flatnonzero(owner == index)
            yield self._shards[index], chosen, rows[chosen] - self._starts[index]

    def _refuse_absent_rows(self, rows: np.ndarray) -> None:
        if len(rows) and not (rows.min() >= 0 and rows.max() < self._starts[-1]):
            raise EpisodesError(
                f"rows {rows.min()} .. {rows.max()} were asked for; "
                f"the store has rows 0 .. {self._starts[-1] - 1}"
            )


class _MappedShard:
    def __init__(
        self, path: Path, info: ShardInfo, image_shape: tuple[int, int, int], advice: str
    ) -> None:
        self.path, self.info, self.advice = path, info, advice
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise EpisodesError(
                f"the shard {path} cannot be read: {error.strerror}: {advice}"
            ) from None
        status = os.fstat(self._file.fileno())
        if status.st_size != info.bytes:
            raise EpisodesError(
                f"the shard {path} has {status.st_size} bytes; expected {info.bytes}: {advice}"
            )
        self._modified = status.st_mtime_ns
        mapped = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        self.pixels = np.frombuffer(
            mapped, np.uint8, info.rows * int(np.prod(image_shape)), info.images_offset
        ).reshape(info.rows, *image_shape)
        self._ids = np.frombuffer(mapped, f"S{info.id_bytes}", info.rows, info.ids_offset)

    def images(self, rows: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        self._refuse_changed_file()
        return np.take(self.pixels, rows, axis=0, out=out, mode="clip")

    def ids(self, rows: np.ndarray) -> np.ndarray:
        self._refuse_changed_file()
        return self._ids[rows]

    def _refuse_changed_file(self) -> None:
        # A map of a file that was cut short ends the process with SIGBUS: look before each gather.
        status = os.fstat(self._file.fileno())
        if status.st_size != self.info.bytes or status.st_mtime_ns != self._modified:
            raise EpisodesError(
                f"the shard {self.path} was changed while it was open "
                f"({status.st_size} bytes; expected {self.info.bytes}): {self.advice}"
            )


def _disk_error(error: Exception) -> OSError:
    """The error of the disk behind one of HDF5's, which span several lines or are RuntimeErrors."""
    code = re.search(r"errno = (\d+)", str(error))
    number = int(code[1]) if code else errno.EIO
    return OSError(number, os.strerror(number))
