"""HDF5 shards: plain contiguous datasets, so that they can be read through a memory map.

A shard holds `ids`, fixed-width UTF-8 [rows]; `labels`, int32 [rows], the class ids; `class_names`
[classes], which the labels count through; and `images`. Raw, that is uint8 [rows, H, W, C].
Original, it is all image files in one, uint8 [bytes], of which row i has
images[offsets[i]:offsets[i + 1]], `offsets` being int64 [rows + 1].
"""

import errno
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from episodes.archive import file_sha256
from episodes.disk import sync_file
from episodes.store.layout import FORMAT, ShardInfo

MAPPED = ("images", "ids", "offsets")
COPIED_AT_ONCE = 8 << 20
OVERHEAD = 64 << 10


class RawHdf5Writer:
    """Writes pixels straight into their places in shards of a known number of rows each."""

    def __init__(
        self,
        folder: Path,
        image_shape: tuple[int, int, int],
        shard_bytes: int,
        rows: int,
        dataset: str,
        class_names: Sequence[str],
    ) -> None:
        self._shards = _Shards(folder, "raw", dataset, class_names)
        self._shape, self._rows_left = image_shape, rows
        self._rows_per_shard = max(1, shard_bytes // int(np.prod(image_shape)))
        self._space = 0

    def append(
        self, class_id: int, ids: Sequence[str], images: np.ndarray | Sequence[np.ndarray | bytes]
    ) -> None:
        """Append rows of one class; see `ShardWriter`."""
        pixels = np.ascontiguousarray(images, np.uint8)
        if pixels.shape != (len(ids), *self._shape) or len(ids) > self._rows_left:
            raise ValueError(
                f"{list(pixels.shape)} pixels for {len(ids)} ids; expected "
                f"{list(self._shape)} each and {self._rows_left} rows at most"
            )
        while len(ids):
            if self._space == 0:
                self._space = min(self._rows_per_shard, self._rows_left)
                self._shards.open((self._space, *self._shape))
            count = min(len(ids), self._space)
            self._shards.write(pixels[:count].data)
            self._shards.add(class_id, ids[:count])
            ids, pixels = ids[count:], pixels[count:]
            self._space -= count
            self._rows_left -= count
            if self._space == 0:
                self._shards.close()

    def finish(self) -> tuple[ShardInfo, ...]:
        """The description of all shards."""
        if self._rows_left:
            raise ValueError(f"{self._rows_left} of the promised rows did not come")
        return tuple(self._shards.written)


class EncodedHdf5Writer:
    """Writes whole image files, one behind the other, into shards of `shard_bytes` at most."""

    def __init__(
        self, folder: Path, shard_bytes: int, dataset: str, class_names: Sequence[str]
    ) -> None:
        self._shards = _Shards(folder, "original", dataset, class_names)
        self._shard_bytes = shard_bytes
        # A contiguous dataset's size must be known when it is made; until then, files wait here.
        self._spool = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (open until finish)
        self._offsets = [0]

    def append(
        self, class_id: int, ids: Sequence[str], images: np.ndarray | Sequence[np.ndarray | bytes]
    ) -> None:
        """Append rows of one class; see `ShardWriter`."""
        for image_id, image in zip(ids, images, strict=True):
            if self._offsets[-1] and self._offsets[-1] + len(image) > self._shard_bytes:
                self._write_shard()
            self._spool.write(image)
            self._offsets.append(self._offsets[-1] + len(image))
            self._shards.add(class_id, [image_id])

    def finish(self) -> tuple[ShardInfo, ...]:
        """Write what is left and return the description of all shards."""
        if self._offsets[-1]:
            self._write_shard()
        self._spool.close()
        return tuple(self._shards.written)

    def _write_shard(self) -> None:
        self._shards.open((self._offsets[-1],))
        self._spool.seek(0)
        while block := self._spool.read(COPIED_AT_ONCE):
            self._shards.write(block)
        self._shards.close(offsets=np.array(self._offsets, "<i8"))
        self._spool.seek(0)
        self._spool.truncate()
        self._offsets = [0]


class _Shards:
    """The shards written so far and the one that is being written, of both encodings.

    HDF5 makes room for the images, which then are written into it as into any file; the rest HDF5
    adds in room made in the same way, since it does not survive a disk that fills up under it.
    """

    def __init__(
        self, folder: Path, encoding: str, dataset: str, class_names: Sequence[str]
    ) -> None:
        self._folder, self._class_names = folder, list(class_names)
        self._attributes = {"dataset": dataset, "encoding": encoding, "format": FORMAT}
        self._ids: list[bytes] = []
        self._labels: list[int] = []
        self.written: list[ShardInfo] = []

    def open(self, shape: tuple[int, ...]) -> None:
        """Begin a shard, with room for images of that shape."""
        import h5py

        self._path = self._folder / f"shard-{len(self.written):05d}.h5"
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        properties.set_obj_track_times(False)
        space = h5py.h5s.create_simple(shape)
        with _os_errors(), h5py.File(self._path, "w") as file:
            file.attrs.update(self._attributes)
            images = h5py.h5d.create(file.id, b"images", h5py.h5t.STD_U8LE, space, properties)
            offset = images.get_offset()
        self._images = self._path.open("r+b")
        self._images.seek(offset)

    def write(self, images: bytes | memoryview) -> None:
        """Write the next images into the open shard."""
        self._images.write(images)

    def add(self, class_id: int, ids: Sequence[str]) -> None:
        """Note the class and the ids of rows that are in the open shard, or will be."""
        self._ids += [image_id.encode() for image_id in ids]
        self._labels += [class_id] * len(ids)

    def close(self, **arrays: np.ndarray) -> None:
        """Complete the open shard with `arrays`, wait for the disk, and describe it."""
        import h5py

        ids, names = _text(self._ids), _text([name.encode() for name in self._class_names])
        arrays |= {"ids": ids, "labels": np.array(self._labels, np.int32), "class_names": names}
        with self._images:  # room for them too, while a full disk is still an ordinary error
            self._images.write(bytes(OVERHEAD + sum(values.nbytes for values in arrays.values())))
        with _os_errors(), h5py.File(self._path, "r+") as file:
            for name, values in arrays.items():
                file[name] = values
            offsets = {name: file[name].id.get_offset() for name in MAPPED if name in file}
        sync_file(self._path)
        self.written.append(
            ShardInfo(
                file=self._path.name,
                bytes=self._path.stat().st_size,
                sha256=file_sha256(self._path),
                rows=len(self._ids),
                arrays=offsets,
                id_bytes=ids.dtype.itemsize,
            )
        )
        self._ids, self._labels = [], []


def _text(values: Sequence[bytes]) -> np.ndarray:
    import h5py

    width = max(map(len, values), default=0)
    return np.array(values, h5py.string_dtype("utf-8", max(1, width)))


@contextmanager
def _os_errors() -> Iterator[None]:
    """Turns HDF5's errors, which span several lines or are RuntimeErrors, into the disk's own."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        code = re.search(r"errno = (\d+)", str(error))
        number = int(code[1]) if code else errno.EIO
        raise OSError(number, os.strerror(number)) from None
