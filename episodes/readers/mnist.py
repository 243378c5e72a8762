"""MNIST's test images: two gzipped IDX files, the images and their labels.

IDX is a big-endian header, a magic number and the size of each dimension, and then the bytes.
"""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from episodes.errors import EpisodesError
from episodes.manifest import Manifest, Source
from episodes.readers import Record, locate

EDGE = 28
IMAGES, LABELS = 2051, 2049  # the magic numbers: of bytes in 3 dimensions, and in 1
LARGEST_FILE = 1 << 28


def records(manifest: Manifest, source: Source, folder: Path, boxes: bool) -> Iterator[Record]:
    """Every image, uint8 [28, 28], ink bright on 0, with ids `test-00042`: its place in the files.

    The labels are positions among the manifest's classes. Raises EpisodesError for a missing or
    damaged file, and for files that do not belong together.
    """
    images, labels = (locate(file, folder) for file in source.files)
    pixels = _array(images, IMAGES, (EDGE, EDGE))
    classes = _array(labels, LABELS, ())
    if len(pixels) != len(classes):
        raise EpisodesError(
            f"{labels} has {len(classes)} labels of the {len(pixels)} images in {images.name}: "
            "fetch both again"
        )
    if len(classes) and classes.max() >= len(manifest.class_names):
        raise EpisodesError(
            f"{labels} has the label {classes.max()}; "
            f"expected 0 to {len(manifest.class_names) - 1}: fetch it again"
        )
    for place, (image, label) in enumerate(zip(pixels, classes.tolist(), strict=True)):
        yield Record(manifest.class_names[label], f"test-{place:05d}", image)


def _array(path: Path, magic: int, shape: tuple[int, ...]) -> np.ndarray:
    """The uint8 [n, *shape] of the IDX file `path`."""
    try:
        with gzip.open(path, "rb") as file:
            content = file.read(LARGEST_FILE)
    except (OSError, EOFError, zlib.error) as error:
        raise EpisodesError(
            f"{path} is no whole gzip file ({' '.join(str(error).split())}): fetch it again"
        ) from None
    numbers = 2 + len(shape)
    header = np.frombuffer(content, ">u4", min(numbers, len(content) // 4)).tolist()
    if len(header) < numbers or header[0] != magic or tuple(header[2:]) != shape:
        raise EpisodesError(
            f"{path} begins with {header}; expected {[magic, 'n', *shape]}: fetch it again"
        )
    values = np.frombuffer(content, np.uint8, offset=4 * numbers)
    if len(values) != header[1] * int(np.prod(shape)):
        raise EpisodesError(
            f"{path} has {len(values)} bytes of {header[1]} entries; "
            f"expected {header[1] * int(np.prod(shape))}: fetch it again"
        )
    return values.reshape(header[1], *shape)
