"""Shards of every format behind one writer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from episodes.errors import UsageError, unknown_name
from episodes.store.hdf5 import EncodedHdf5Writer, RawHdf5Writer
from episodes.store.layout import CONTAINERS, ENCODINGS, ONLY_ENCODING, ShardInfo
from episodes.store.webdataset import TarWriter

DEFAULT_SHARD_BYTES = 10**9


class ShardWriter(Protocol):
    """Writes rows into shards, in bounded memory."""

    def append(
        self, class_id: int, ids: Sequence[str], images: np.ndarray | Sequence[np.ndarray | bytes]
    ) -> None:
        """Append rows of one class in their final order; a class may come in several calls.

        `images` are uint8 [H, W, C] arrays (or one array [n, H, W, C]) where the encoding is raw,
        and whole image files where it is original. Raises OSError for a disk that cannot be
        written.
        """

    def finish(self) -> tuple[ShardInfo, ...]:
        """Write what is left and return the description of all shards."""


def writer(
    folder: Path,
    container: str,
    encoding: str,
    image_shape: tuple[int, int, int] | None,
    shard_bytes: int = DEFAULT_SHARD_BYTES,
    threads: int = 1,
    *,
    rows: int,
    dataset: str,
    class_names: Sequence[str],
) -> ShardWriter:
    """A writer of `rows` rows into `folder`, in shards of about `shard_bytes` of images.

    `dataset` and `class_names` (by class id) go into the shards so that they explain themselves;
    `threads` encode PNGs. Raises UsageError for a format that is not written, and for raw HDF5
    without one image shape.
    """
    if container not in CONTAINERS:
        raise unknown_name("format", container, CONTAINERS)
    if encoding not in ENCODINGS:
        raise unknown_name("encoding", encoding, ENCODINGS)
    if container in ONLY_ENCODING:
        raise UsageError(
            f"{container} is the source's own files, linked to: choose hdf5 or webdataset"
        )
    if container == "webdataset":
        return TarWriter(folder, encoding, shard_bytes, threads, class_names)
    if encoding == "original":
        return EncodedHdf5Writer(folder, shard_bytes, dataset, class_names)
    if image_shape is None:
        raise UsageError("raw images of differing sizes have no place in HDF5: give one --size")
    return RawHdf5Writer(folder, image_shape, shard_bytes, rows, dataset, class_names)
