"""The content digest: one hash over class names, their order, image ids and pixels."""

import hashlib
from collections.abc import Sequence

import numpy as np


class ContentDigest:
    """Accumulates the content digest, class by class, in class order.

    The digest is the SHA-256 of `episodes-content/1` and, for each class, its name, and for each of
    its rows in order the id, the shape, and the SHA-256 of the uint8 pixels. It does not depend on
    the container, on shards, or on compression.
    """

    def __init__(self) -> None:
        self._hash = hashlib.sha256(b"episodes-content/1\n")

    def add_class(self, name: str, ids: Sequence[str], pixels: np.ndarray) -> None:
        """Add a class: its `ids` and `pixels`, uint8 [len(ids), H, W, C]."""
        height, width, channels = pixels.shape[1:]
        self._hash.update(f"class {name}\n".encode())
        for image_id, image in zip(ids, pixels, strict=True):
            self._hash.update(f"{image_id} {height}x{width}x{channels} ".encode())
            self._hash.update(hashlib.sha256(image.tobytes()).digest())

    def hexdigest(self) -> str:
        """The digest of all classes so far."""
        return self._hash.hexdigest()
