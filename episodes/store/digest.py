"""The content digest: one hash over class names, their order, image ids and pixels."""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np


class ContentDigest:
    """Accumulates the content digest, row by row, in the order of classes and rows.

    The digest is the SHA-256 of `episodes-content/1` and, for each class, its name, and for each of
    its rows in order the id, the shape, and the SHA-256 of the uint8 pixels. It does not depend on
    the container, on shards, or on compression.
    """

    def __init__(self) -> None:
        self._hash = hashlib.sha256(b"episodes-content/1\n")

    def start_class(self, name: str) -> None:
        """Begin the next class, to which the rows that follow belong."""
        self._hash.update(f"class {name}\n".encode())

    def add_rows(self, ids: Sequence[str], images: Iterable[np.ndarray]) -> None:
        """Add rows: their `ids`, and of each the uint8 pixels [H, W, C]."""
        self.add_hashed_rows(ids, map(shape_and_hash, images))

    def add_hashed_rows(
        self, ids: Sequence[str], hashes: Iterable[tuple[Sequence[int], bytes]]
    ) -> None:
        """Add rows of which `shape_and_hash` was taken elsewhere."""
        for image_id, ((height, width, channels), sha256) in zip(ids, hashes, strict=True):
            self._hash.update(f"{image_id} {height}x{width}x{channels} ".encode())
            self._hash.update(sha256)

    def add_class(self, name: str, ids: Sequence[str], images: Iterable[np.ndarray]) -> None:
        """Add a class with all its rows."""
        self.start_class(name)
        self.add_rows(ids, images)

    def hexdigest(self) -> str:
        """The digest of all rows so far."""
        return self._hash.hexdigest()


def shape_and_hash(image: np.ndarray) -> tuple[tuple[int, int, int], bytes]:
    """What the digest keeps of uint8 pixels [H, W, C]: their shape and their SHA-256."""
    height, width, channels = image.shape
    return (height, width, channels), hashlib.sha256(image.tobytes()).digest()
