"""Records to rows: decode, crop and resize in threads, in the records' order, in bounded memory."""

import hashlib
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import repeat

import numpy as np

from episodes import images
from episodes.errors import EpisodesError
from episodes.readers import Record
from episodes.recipe import NO_CROP, Recipe

RECORDS_AT_ONCE = 32
BYTES_AT_ONCE = 8 << 20
FINGERPRINT_BYTES = 12


@dataclass(frozen=True)
class Row:
    """One image as the store will hold it.

    `data` are uint8 pixels [H, W, C], or the encoded file where files are kept; `shape` is that of
    its pixels and `sha256` theirs; `fingerprint` tells the record from which it was made.
    """

    class_name: str
    image_id: str
    data: bytes | np.ndarray
    shape: tuple[int, int, int]
    sha256: bytes
    fingerprint: str


@dataclass(frozen=True)
class Corrupt:
    """An image that does not decode, and why."""

    class_name: str
    image_id: str
    reason: str


def fingerprint(record: Record) -> str:
    """A short hash of all that the record's row is made from."""
    content = hashlib.blake2b(digest_size=FINGERPRINT_BYTES)
    content.update(record.image if isinstance(record.image, bytes) else record.image.tobytes())
    content.update(repr((record.box, record.inverted)).encode())
    return content.hexdigest()


def made_rows(
    records: Iterable[tuple[Record, str]],
    recipe: Recipe,
    channels: int,
    encoding: str,
    threads: int,
) -> Generator[Row | Corrupt]:
    """The rows of (record, fingerprint) pairs, in their order, made by `threads` threads.

    At most a few groups of records are under way, each of at most 32 records or about 8 MiB.
    """
    groups = _groups(records)
    with closing(groups), ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:
        ahead: deque[Future[list[Row | Corrupt]]] = deque()
        try:
            for group in groups:
                ahead.append(pool.submit(_rows_of, group, recipe, channels, encoding))
                if len(ahead) > 2 * threads:
                    yield from ahead.popleft().result()
            while ahead:
                yield from ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()


def _groups(records: Iterable[tuple[Record, str]]) -> Generator[list[tuple[Record, str]]]:
    group: list[tuple[Record, str]] = []
    size = 0
    for record, mark in records:
        group.append((record, mark))
        size += len(record.image) if isinstance(record.image, bytes) else record.image.nbytes
        if len(group) == RECORDS_AT_ONCE or size >= BYTES_AT_ONCE:
            yield group
            group, size = [], 0
    if group:
        yield group


def _rows_of(
    group: list[tuple[Record, str]], recipe: Recipe, channels: int, encoding: str
) -> list[Row | Corrupt]:
    return list(map(_row_of, group, repeat(recipe), repeat(channels), repeat(encoding)))


def _row_of(
    marked: tuple[Record, str], recipe: Recipe, channels: int, encoding: str
) -> Row | Corrupt:
    record, mark = marked
    name = f"{record.class_name}/{record.image_id}"
    try:
        pixels = _pixels(record, name, channels)
        if recipe.crop != NO_CROP:
            pixels = images.crop(pixels, _box(record, name), name)
    except EpisodesError as error:
        return Corrupt(record.class_name, record.image_id, str(error))
    if recipe.size is not None:
        pixels = images.resize(pixels, recipe.size, recipe.resize)
    height, width, depth = pixels.shape
    return Row(
        class_name=record.class_name,
        image_id=record.image_id,
        data=pixels if encoding == "raw" else _encoded(record, pixels),
        shape=(height, width, depth),
        sha256=hashlib.sha256(np.ascontiguousarray(pixels).data).digest(),
        fingerprint=mark,
    )


def _pixels(record: Record, name: str, channels: int) -> np.ndarray:
    if isinstance(record.image, bytes):
        pixels = images.decode(record.image, name, channels)
    else:
        pixels = images.as_channels(record.image, channels)
    return np.uint8(255) - pixels if record.inverted else pixels


def _box(record: Record, name: str) -> tuple[int, int, int, int]:
    if record.box is None:
        raise EpisodesError(f"the image {name} has no box to crop to")
    return record.box


def _encoded(record: Record, pixels: np.ndarray) -> bytes:
    """The record's own file, or a lossless one of an image that came as pixels or inverted."""
    if isinstance(record.image, bytes) and not record.inverted:
        return record.image
    return images.encode_png(pixels)
