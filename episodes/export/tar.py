"""Episodes as tars that `webdataset` decodes by itself: a sample an episode, a member an array."""

import functools
import io
import json
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from episodes.export.naming import ARRAYS, NamedBatch

Chunk = bytes | memoryview
KEY_DIGITS = 9
SHARD_BYTES = 1 << 30


def tar_samples(batches: Iterable[NamedBatch]) -> Iterator[list[Chunk]]:
    """Each episode as the bytes of its members: ARRAYS as .npy, and what it is made of as .json.

    The chunks are views of the episodes' arrays: they are to be used before the next one is asked
    for.
    """
    for batch, all_names in batches:
        for position, names in enumerate(all_names):
            episode = batch[position]
            key = f"{episode.index:0{KEY_DIGITS}d}"
            chunks: list[Chunk] = []
            for name in ARRAYS:
                chunks += _member(f"{key}.{name}.npy", *_npy(getattr(episode, name)))
            chunks += _member(f"{key}.json", json.dumps(names.facts).encode())
            yield chunks


def tar_end(written: int) -> bytes:
    """What ends a tar of `written` bytes: two empty blocks, filled up to a whole record."""
    end = 2 * tarfile.BLOCKSIZE
    return bytes(end + -(written + end) % tarfile.RECORDSIZE)


def tar_stream(batches: Iterable[NamedBatch]) -> Iterator[Chunk]:
    """One tar of all episodes, piece by piece."""
    written = 0
    for chunks in tar_samples(batches):
        yield from chunks
        written += sum(map(len, chunks))
    yield tar_end(written)


def write_tars(
    folder: Path, batches: Iterable[NamedBatch], shard_bytes: int = SHARD_BYTES
) -> Iterator[tuple[str, int]]:
    """Write tars of about `shard_bytes` into `folder`; yields each one's name and episodes."""
    samples = tar_samples(batches)
    sample = next(samples, None)
    number = 0
    while sample is not None:
        name = f"episodes-{number:05d}.tar"
        with (folder / name).open("wb") as file:
            written = episodes = 0
            while sample is not None and (not written or written < shard_bytes):
                file.writelines(sample)
                written += sum(map(len, sample))
                episodes += 1
                sample = next(samples, None)
            file.write(tar_end(written))
        number += 1
        yield name, episodes


def _npy(array: np.ndarray) -> tuple[bytes, memoryview]:
    """An array as a .npy file: its header and its values."""
    values = np.ascontiguousarray(array)
    return _npy_header(values.shape, values.dtype.str), values.reshape(-1).view(np.uint8).data


@functools.lru_cache
def _npy_header(shape: tuple[int, ...], dtype: str) -> bytes:
    header = io.BytesIO()
    described = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, described)
    return header.getvalue()


def _member(name: str, *content: Chunk) -> Iterator[Chunk]:
    """A file as it stands in a tar: header, content, padding; the same whoever writes it, when."""
    header = tarfile.TarInfo(name)
    header.size = sum(map(len, content))
    yield header.tobuf(tarfile.USTAR_FORMAT)
    yield from content
    yield bytes(-header.size % tarfile.BLOCKSIZE)
