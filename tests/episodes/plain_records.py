"""TFRecord files, tf.Examples and Meta-Dataset conversions, written and read as their formats say.

Byte by byte and apart from the package, to compare it with.
"""

import io
import json
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path

from PIL import Image


def _table() -> list[int]:
    table = []
    for register in range(256):
        for _ in range(8):
            register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
        table.append(register)
    return table


TABLE = _table()


def plain_crc32c(data: bytes) -> int:
    register = 0xFFFFFFFF
    for byte in data:
        register = TABLE[(register ^ byte) & 0xFF] ^ register >> 8
    return register ^ 0xFFFFFFFF


def plain_masked(data: bytes) -> int:
    crc = plain_crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def frame(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return (
        length
        + struct.pack("<I", plain_masked(length))
        + data
        + struct.pack("<I", plain_masked(data))
    )


def varint(number: int) -> bytes:
    number %= 1 << 64
    groups = [number & 0x7F]
    while number := number >> 7:
        groups.append(number & 0x7F)
    return bytes([group | 0x80 for group in groups[:-1]] + groups[-1:])


def field(number: int, content: bytes) -> bytes:
    """A field of bytes: a string, or a message inside a message."""
    return varint(number * 8 + 2) + varint(len(content)) + content


def image_feature(image: bytes) -> bytes:
    return field(1, field(1, image))


def label_feature(label: int) -> bytes:
    return field(3, field(1, varint(label)))


def entry(name: str, feature: bytes) -> bytes:
    """One feature of a map of them."""
    return field(1, field(1, name.encode()) + field(2, feature))


def example(image: bytes, label: int) -> bytes:
    return field(1, entry("image", image_feature(image)) + entry("label", label_feature(label)))


def write_class(folder: Path, class_id: int, images: Iterable[bytes], label: int = -1) -> None:
    """A class's file, its label the class id unless another is given."""
    label = class_id if label < 0 else label
    content = b"".join(frame(example(image, label)) for image in images)
    (folder / f"{class_id}.tfrecords").write_bytes(content)


def taken(message: bytes, number: int) -> tuple[bytes, bytes]:
    """The field of bytes that `message` begins with, which has that number, and what follows it."""
    assert message[0] == number * 8 + 2
    length = shift = 0
    at = 1
    while True:
        length |= (message[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if message[at - 1] < 0x80:
            break
    assert len(message) >= at + length
    return message[at : at + length], message[at + length :]


def read_class(path: Path) -> list[tuple[bytes, int]]:
    """The images and labels of a file of examples of just those two, image first."""
    data, found = path.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        message = data[12 : 12 + length]
        assert data[: 16 + length] == frame(message)
        features, rest = taken(message, 1)
        assert not rest
        first, second = taken(features, 1)
        assert first.startswith(field(1, b"image")) and rest == b""
        image = taken(taken(taken(first[7:], 2)[0], 1)[0], 1)[0]
        second, rest = taken(second, 1)
        assert second.startswith(field(1, b"label")) and rest == b""
        digits = taken(taken(taken(second[7:], 2)[0], 3)[0], 1)[0]
        found.append((image, sum((digit & 0x7F) << 7 * i for i, digit in enumerate(digits))))
        data = data[16 + length :]
    return found


def as_jpeg(picture: Image.Image) -> bytes:
    """What Meta-Dataset's code makes of a picture: RGB, by Pillow's defaults."""
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, "JPEG")
    return buffer.getvalue()


def write_specification(folder: Path, values: Mapping[str, object]) -> None:
    (folder / "dataset_spec.json").write_text(json.dumps(values, indent=2))
