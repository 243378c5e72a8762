"""VGG Flower in small: `102flowers.tgz`, and `imagelabels.mat` as MATLAB writes it."""

import struct
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from episodes.manifest import Manifest
from tests.episodes.layouts import Images, Writer
from tests.episodes.layouts.making import add, encoded, images_of, picture, shuffled

TEXT = b"MATLAB 5.0 MAT-file, Platform: GLNX86, Created on: Thu Feb 19 15:39:35 2009"


def write_archive(folder: Path, facts: Manifest) -> Images:
    """The images' numbers go through the classes in another order than the classes have."""
    images: Images = {}
    labels = []
    of_class = {name: number for number, name, place in images_of(facts) if place == 0}
    for class_name in shuffled(facts.class_names):
        for place in range(facts.class_images[facts.class_names.index(class_name)] or 0):
            labels.append(int(class_name[:3]))
            jpeg = encoded(picture(of_class[class_name] + place))
            images[class_name, f"image_{len(labels):05d}.jpg"] = jpeg
    files = {file: content for (_, file), content in images.items()}
    with tarfile.open(folder / "102flowers.tgz", "w:gz", compresslevel=1) as tar:
        add(tar, "jpg", None)
        for file in shuffled(list(files)):
            add(tar, f"jpg/{file}", files[file])
    (folder / "imagelabels.mat").write_bytes(mat_file([("labels", labels)], level=None))
    return images


def mat_file(rows: Sequence[tuple[str, Sequence[int]]], level: int | None = 6) -> bytes:
    """A MATLAB 5 file of rows of doubles, each compressed at `level`, or not where there is None.

    Compressed, they are kept as bytes, as MATLAB does with doubles that fit.
    """
    header = TEXT.ljust(116) + bytes(8) + b"\x00\x01IM"
    return header + b"".join(_row(name, numbers, level) for name, numbers in rows)


def _row(name: str, numbers: Sequence[int], level: int | None) -> bytes:
    flags = struct.pack("<IIII", 6, 8, 6, 0)  # double
    shape = struct.pack("<IIii", 5, 8, 1, len(numbers))
    label = _element(1, name.encode())
    doubles = _element(9, struct.pack(f"<{len(numbers)}d", *numbers))
    matrix = flags + shape + label + (doubles if level is None else _element(2, bytes(numbers)))
    whole = struct.pack("<II", 14, len(matrix)) + matrix
    if level is None:
        return whole
    compressed = zlib.compress(whole, level)
    return struct.pack("<II", 15, len(compressed)) + compressed


def _element(kind: int, data: bytes) -> bytes:
    """Of at most 4 bytes, the tag holds them too."""
    if len(data) <= 4:
        return struct.pack("<HH", kind, len(data)) + data.ljust(4, b"\0")
    return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)


LAYOUTS: dict[tuple[str, str], Writer] = {("vgg-flower", "archive"): write_archive}
