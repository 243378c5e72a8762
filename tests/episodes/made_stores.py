"""Stores made straight through the shard writers, from images at hand, in any format."""

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from episodes.store import Store
from episodes.store.layout import StoreInfo, write_info
from episodes.store.shards import writer

FORMATS = [
    (container, encoding)
    for container in ("hdf5", "webdataset")
    for encoding in ("raw", "original")
]
Pixels = Mapping[str, Mapping[str, np.ndarray]]
Files = Mapping[str, Mapping[str, bytes]]


def random_images(seed: int = 0, edge: int = 12, channels: int = 3) -> Pixels:
    """Five classes of 1 to 7 noisy images, ids of differing length, one not ASCII."""
    generator = np.random.default_rng(seed)
    sizes = {"ant": 3, "bée/nest": 7, "cat": 1, "dog": 4, "emu": 5}
    return {
        name: {
            f"{name[0]}é{10**index}.png": generator.integers(
                0, 256, (edge, edge, channels), np.uint8
            )
            for index in range(size)
        }
        for name, size in sizes.items()
    }


def encoded(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(buffer, kind)
    return buffer.getvalue()


def encoded_all(images: Pixels, kind: str = "PNG") -> Files:
    return {
        name: {image_id: encoded(pixels, kind) for image_id, pixels in of_class.items()}
        for name, of_class in images.items()
    }


def decoded(file: bytes, channels: int) -> np.ndarray:
    """What Pillow makes of an image file, uint8 [H, W, channels]."""
    with Image.open(io.BytesIO(file)) as image:
        pixels = np.asarray(image.convert({1: "L", 3: "RGB"}[channels]))
    return pixels.reshape(*pixels.shape[:2], channels)


def expected_digest(images: Pixels) -> str:
    """The content digest as its definition says, written out."""
    text = b"episodes-content/1\n"
    for name, of_class in images.items():
        text += f"class {name}\n".encode()
        for image_id, pixels in of_class.items():
            height, width, channels = pixels.shape
            text += f"{image_id} {height}x{width}x{channels} ".encode()
            text += hashlib.sha256(pixels.tobytes()).digest()
    return hashlib.sha256(text).hexdigest()


def make_store(
    folder: Path,
    images: Pixels | Files,
    container: str = "hdf5",
    encoding: str = "raw",
    shard_bytes: int = 1 << 20,
    rows_at_once: int = 100,
    **described: object,
) -> Store:
    """A store in `folder` of pixels, or of whole image files where the encoding is original."""
    folder.mkdir(parents=True)
    pixels = {
        name: {
            image_id: decoded(image, 3) if isinstance(image, bytes) else image
            for image_id, image in of_class.items()
        }
        for name, of_class in images.items()
    }
    shapes = {image.shape for of_class in pixels.values() for image in of_class.values()}
    shape = shapes.pop() if len(shapes) == 1 else None
    names = tuple(images)
    sizes = tuple(len(of_class) for of_class in images.values())
    shards = writer(
        folder,
        container,
        encoding,
        shape,
        shard_bytes,
        2,
        rows=sum(sizes),
        dataset="made",
        class_names=names,
    )
    for class_id, of_class in enumerate(images.values()):
        ids, rows = list(of_class), list(of_class.values())
        for first in range(0, len(ids), rows_at_once):
            some = slice(first, first + rows_at_once)
            shards.append(class_id, ids[some], rows[some])
    facts = {
        "name": "made",
        "dataset": "made",
        "version": "1",
        "class_names": names,
        "class_sizes": sizes,
        "splits": {"all": {"train": tuple(range(len(names))), "val": (), "test": ()}},
        "default_scheme": "all",
        "channels": shape[2] if shape else 3,
        "image_shape": shape,
        "preprocessing": {"size": None, "resize": "bilinear"},
        "training": {},
        "shards": shards.finish(),
        "content_digest": expected_digest(pixels),
        "manifest_digest": "",
        "licence": "MIT",
        "citation": "none",
        "verified": "",
        "sources": (),
        "tool_version": "0",
        "container": container,
        "encoding": encoding,
    }
    write_info(folder, StoreInfo(**facts | described))  # type: ignore[arg-type]
    return Store(folder)
