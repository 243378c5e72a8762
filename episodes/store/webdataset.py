"""WebDataset shards: tars of KEY.png, KEY.cls and KEY.json for each row, an index beside each.

The index is an .npy file, a structured array [rows] of `offset` and `length`, the place of the
image's bytes in the tar, and `id`, so that rows are read without walking through the tar.
"""

import hashlib
import io
import json
import re
import shutil
import tarfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from episodes import images as codec
from episodes.archive import file_sha256
from episodes.disk import sync_file
from episodes.errors import EpisodesError
from episodes.store.layout import IndexInfo, ShardInfo

KEY_DIGITS = 9
SUFFIXES = {
    "jpg": rb"\xff\xd8\xff",
    "png": rb"\x89PNG",
    "bmp": rb"BM",
    "gif": rb"GIF8",
    "ppm": rb"P[1-6]\s",
    "tif": rb"II\*\x00|MM\x00\*",
    "webp": rb"RIFF....WEBP",
}


class TarWriter:
    """Writes rows into tars of about `shard_bytes`, a class over no more of them than needed."""

    def __init__(
        self,
        folder: Path,
        encoding: str,
        shard_bytes: int,
        threads: int,
        class_names: Sequence[str],
    ) -> None:
        self._folder, self._encoding = folder, encoding
        self._shard_bytes = shard_bytes
        self._class_names = class_names
        self._class_id: int | None = None
        self._rows = 0
        self._suffix = "png" if encoding == "raw" else ""
        self._shard: _Tar | None = None
        self._written: list[ShardInfo] = []
        # Its threads end with it, also where a preparation fails.
        self._encoders = ThreadPoolExecutor(threads, thread_name_prefix="png")

    def append(
        self, class_id: int, ids: Sequence[str], images: np.ndarray | Sequence[np.ndarray | bytes]
    ) -> None:
        """Append rows of one class; see `ShardWriter`."""
        if self._encoding == "original":
            self._append(class_id, ids, images)
            return
        self._append(class_id, ids, self._encoders.map(codec.encode_png, images))

    def finish(self) -> tuple[ShardInfo, ...]:
        """Write what is left and return the description of all shards."""
        self._encoders.shutdown()
        if self._shard is not None:
            self._written.append(self._shard.close())
        return tuple(self._written)

    def _append(self, class_id: int, ids: Sequence[str], encoded: Iterable[Any]) -> None:
        for image_id, image in zip(ids, encoded, strict=True):
            # One suffix for all: `datasets` makes a column of each, and the same for every row.
            self._suffix = self._suffix or suffix_of(image)
            sample = self._sample(class_id, image_id, image)
            if self._shard is None:
                self._shard = _Tar(self._folder, 0)
            elif self._shard.rows and self._shard.bytes + len(sample) > self._shard_bytes:
                self._start_shard(same_class=class_id == self._class_id)
            if class_id != self._class_id:
                self._shard.mark()
                self._class_id = class_id
            self._shard.add(sample, image_id, len(image))
            self._rows += 1

    def _sample(self, class_id: int, image_id: str, image: bytes) -> bytes:
        facts = {"class": self._class_names[class_id], "id": image_id, "row": self._rows}
        members = (
            (self._suffix, image),
            ("cls", str(class_id).encode()),
            ("json", json.dumps(facts).encode()),
        )
        key = f"{self._rows:0{KEY_DIGITS}d}"
        return b"".join(_member(f"{key}.{suffix}", content) for suffix, content in members)

    def _start_shard(self, same_class: bool) -> None:
        assert self._shard is not None
        following = _Tar(self._folder, len(self._written) + 1)
        if same_class:
            # What the full shard has of the class goes along, unless it has nothing else.
            self._shard.move_marked(following)
        self._written.append(self._shard.close())
        self._shard = following


class _Tar:
    """A tar being written, its index, and a mark in it: where the current class began."""

    def __init__(self, folder: Path, number: int) -> None:
        self._path = folder / f"shard-{number:05d}.tar"
        self._file = self._path.open("w+b")
        self._entries: list[tuple[int, int, bytes]] = []
        self._marked_row = self._marked_byte = self.bytes = 0

    @property
    def rows(self) -> int:
        return len(self._entries)

    def mark(self) -> None:
        self._marked_row, self._marked_byte = self.rows, self.bytes

    def add(self, sample: bytes, image_id: str, length: int) -> None:
        self._entries.append((self.bytes + tarfile.BLOCKSIZE, length, image_id.encode()))
        self._file.write(sample)
        self.bytes += len(sample)

    def move_marked(self, following: "_Tar") -> None:
        """Move the rows from the mark on, unless they are all there are, into an empty tar."""
        row, byte = self._marked_row, self._marked_byte
        if row == 0:
            return
        self._file.seek(byte)
        shutil.copyfileobj(self._file, following._file)
        self._file.truncate(byte)
        self._file.seek(byte)
        following._entries = [
            (offset - byte, length, image_id) for offset, length, image_id in self._entries[row:]
        ]
        following.bytes, self.bytes = self.bytes - byte, byte
        del self._entries[row:]

    def close(self) -> ShardInfo:
        end = 2 * tarfile.BLOCKSIZE
        self._file.write(bytes(end + -(self.bytes + end) % tarfile.RECORDSIZE))
        self._file.close()
        width = max(len(image_id) for _, _, image_id in self._entries)
        entry = [("offset", "<i8"), ("length", "<i8"), ("id", f"S{max(1, width)}")]
        index = self._path.with_suffix(".npy")
        np.save(index, np.array(self._entries, entry))
        for path in (self._path, index):
            sync_file(path)
        return ShardInfo(
            file=self._path.name,
            bytes=self._path.stat().st_size,
            sha256=file_sha256(self._path),
            rows=self.rows,
            index=IndexInfo(index.name, index.stat().st_size, file_sha256(index)),
        )


def read_index(folder: Path, shard: ShardInfo, advice: str) -> np.ndarray:
    """The index beside a tar, [rows] of (offset, length, id).

    Raises EpisodesError, ending in `advice`, where it is missing or not as it was written.
    """
    assert shard.index is not None
    path = folder / shard.index.file
    try:
        content = path.read_bytes()
    except OSError as error:
        raise EpisodesError(
            f"the index {path} cannot be read: {error.strerror}: {advice}"
        ) from None
    if len(content) != shard.index.bytes:
        raise EpisodesError(
            f"the index {path} has {len(content)} bytes; expected {shard.index.bytes}: {advice}"
        )
    if hashlib.sha256(content).hexdigest() != shard.index.sha256:
        raise EpisodesError(f"the index {path} is damaged (its SHA-256 differs): {advice}")
    try:
        return _entries(content, shard)
    except ValueError as error:
        raise EpisodesError(f"the index {path} is damaged ({error}): {advice}") from None


def _entries(content: bytes, shard: ShardInfo) -> np.ndarray:
    """The entries of an index; raises ValueError where they are not places in the tar's rows."""
    stream = io.BytesIO(content)
    try:
        # Not np.load, which makes an array of the size that the header names before it reads.
        np.lib.format.read_magic(stream)
        shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    except Exception:  # a header is parsed as Python, and fails in as many ways
        raise ValueError("it is no .npy file") from None
    if dtype.names != ("offset", "length", "id") or not (
        dtype["offset"] == dtype["length"] == np.dtype("<i8") and dtype["id"].kind == "S"
    ):
        raise ValueError(f"it holds {dtype}; expected offset, length and id")
    start = stream.tell()
    if shape != (shard.rows,):
        raise ValueError(f"its shape is {shape}; expected {shard.rows} rows")
    if len(content) - start != shard.rows * dtype.itemsize:
        raise ValueError(f"its {shard.rows} rows have {len(content) - start} bytes")
    entries = np.frombuffer(content, dtype, shard.rows, start)
    offset, length = entries["offset"], entries["length"]
    if ((offset < 0) | (length < 1) | (length > shard.bytes - offset)).any():
        raise ValueError(f"it names places outside of {shard.file}")
    return entries


def suffix_of(image: bytes) -> str:
    """The suffix of an image file by its first bytes; "img" for a format not known here."""
    for suffix, magic in SUFFIXES.items():
        if re.match(magic, image, re.DOTALL):
            return suffix
    return "img"


def _member(name: str, content: bytes) -> bytes:
    """A file as it stands in a tar: header, content, padding; the same whoever writes it, when."""
    header = tarfile.TarInfo(name)
    header.size = len(content)
    padding = bytes(-len(content) % tarfile.BLOCKSIZE)
    return header.tobuf(tarfile.USTAR_FORMAT) + content + padding
