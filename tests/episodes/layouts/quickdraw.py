"""Quick, Draw!'s bitmaps: a NumPy array of rows of 784 bytes for each class."""

import struct
from pathlib import Path

import numpy as np

from episodes.manifest import Manifest
from tests.episodes.layouts import Images

HEADER_BYTES = 80


def header(drawings: int, dtype: str = "|u1", columns: int = 784) -> bytes:
    """The 80 bytes before the array, as NumPy wrote them when the files were made."""
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': ({drawings}, {columns}), }}"
    text = text.ljust(HEADER_BYTES - 11) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def write_bitmaps(folder: Path, facts: Manifest) -> Images:
    """A file a class."""
    random = np.random.default_rng(0)
    images: Images = {}
    for name, count in zip(facts.class_names, facts.class_images, strict=True):
        drawings = random.integers(0, 256, (count or 0, 28, 28), np.uint8)
        (folder / f"{name}.npy").write_bytes(header(len(drawings)) + drawings.tobytes())
        images |= {(name, str(place)): drawing for place, drawing in enumerate(drawings)}
    return images
