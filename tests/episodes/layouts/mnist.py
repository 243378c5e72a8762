"""MNIST's test images: two gzipped IDX files, big-endian."""

import gzip
import struct
from pathlib import Path

import numpy as np

from episodes.manifest import Manifest
from tests.episodes.layouts import Images
from tests.episodes.layouts.making import images_of

IMAGES, LABELS = "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"


def idx(kind: int, *dimensions: int) -> bytes:
    """The header of an IDX file: two zeros, the type of unsigned bytes, and the dimensions."""
    return struct.pack(f">BBBB{len(dimensions)}I", 0, 0, 8, kind, *dimensions)


def write_idx(folder: Path, facts: Manifest) -> Images:
    """Both files, digits in no order."""
    random = np.random.default_rng(0)
    digits = random.permutation([int(name) for _, name, _ in images_of(facts)])
    pixels = random.integers(0, 256, (len(digits), 28, 28), np.uint8)
    images = idx(3, len(digits), 28, 28) + pixels.tobytes()
    (folder / IMAGES).write_bytes(gzip.compress(images))
    (folder / LABELS).write_bytes(gzip.compress(idx(1, len(digits)) + bytes(digits.tolist())))
    return {(str(digit), f"test-{place:05d}"): pixels[place] for place, digit in enumerate(digits)}


LAYOUTS = {("mnist", "idx"): write_idx}
