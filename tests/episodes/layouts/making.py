"""What the layouts are made of: small pictures, tars, and orders that are not the classes'."""

import io
import tarfile
from collections.abc import Iterator, Sequence
from random import Random

import numpy as np
from PIL import Image

from episodes.manifest import Manifest


def picture(number: int, width: int = 8, height: int = 6, mode: str = "RGB") -> Image.Image:
    """A picture that no other number has: its number in bright and dark blocks, and a slope."""
    bits = np.array([number >> bit & 1 for bit in range(12)]).reshape(3, 4)
    blocks = np.kron(bits, np.ones((-(-height // 3), -(-width // 4))))[:height, :width]
    grey = 40 + 150 * blocks + np.arange(width) * 30 // width
    colours = np.stack([grey, grey[::-1], grey[:, ::-1]], axis=-1).astype(np.uint8)
    return Image.fromarray(colours).convert(mode)


def encoded(image: Image.Image, format: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format)
    return buffer.getvalue()


def add(tar: tarfile.TarFile, name: str, content: bytes | str | None) -> None:
    """A file of that content, or a folder where there is None, as the next entry of `tar`."""
    entry = tarfile.TarInfo(name)
    if content is None:
        entry.type, entry.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(entry)
        return
    data = content.encode() if isinstance(content, str) else content
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))


def lines(rows: Sequence[object]) -> str:
    return "".join(f"{row}\n" for row in rows)


def images_of(facts: Manifest) -> Iterator[tuple[int, str, int]]:
    """(number, class name, place inside the class) of every image, in class order."""
    number = 0
    for class_name, count in zip(facts.class_names, facts.class_images, strict=True):
        for place in range(count or 0):
            yield number, class_name, place
            number += 1


def shuffled(items: Sequence[str]) -> list[str]:
    """`items` in another order, the same each time."""
    order = list(items)
    Random(0).shuffle(order)
    return order
