"""JPEGs by simplejpeg, where it is installed and gives what Pillow gives, bit for bit."""

import io
import itertools
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

START = b"\xff\xd8\xff"
MOST_PIXELS = 1 << 26  # larger ones are Pillow's to warn of, or to refuse
SAMPLE_SHAPE = (37, 45)  # no multiple of a block of 8 or 16: edges differ first


def decode_rgb(encoded: bytes) -> np.ndarray | None:
    """The JPEG as uint8 [H, W, 3], or None for whatever is Pillow's to decode or to refuse.

    simplejpeg refuses every damage, also such as Pillow overlooks.
    """
    kinds = agreed_kinds()
    if not kinds or not encoded.startswith(START):
        return None
    simplejpeg = _simplejpeg()
    try:
        height, width, *kind = simplejpeg.decode_jpeg_header(encoded)
        if (*kind,) not in kinds or height * width > MOST_PIXELS:
            return None
        return simplejpeg.decode_jpeg(encoded, "RGB")
    except ValueError:
        return None


@cache
def agreed_kinds() -> frozenset[tuple[str, ...]]:
    """The kinds of JPEG (colours, subsampling) that both decode alike; none without simplejpeg.

    Looked at once a process, on small samples: each brings a libjpeg-turbo of its own, and a
    release of either may round in another way.
    """
    simplejpeg = _simplejpeg()
    if simplejpeg is None:
        return frozenset()
    from PIL import Image

    agreed: dict[tuple[str, ...], bool] = {}
    for encoded in _samples():
        with Image.open(io.BytesIO(encoded), formats=("JPEG",)) as image:
            expected = np.asarray(image.convert("RGB"))
        kind = tuple(simplejpeg.decode_jpeg_header(encoded)[2:])
        alike = np.array_equal(simplejpeg.decode_jpeg(encoded, "RGB"), expected)
        agreed[kind] = agreed.get(kind, True) and alike
    return frozenset(kind for kind, alike in agreed.items() if alike)


@cache
def _simplejpeg() -> Any:
    """The module, None where it is not installed."""
    return import_module("simplejpeg") if find_spec("simplejpeg") else None


def _samples() -> list[bytes]:
    """Noise on a slope as grey and as colours, in every subsampling that Pillow writes."""
    from PIL import Image

    height, width = SAMPLE_SHAPE
    noise = np.random.Philox(key=1).random_raw(height * width * 3) >> np.uint64(57)
    slope = np.arange(height * width * 3) % 128
    colours = (noise.astype(np.int64) + slope).astype(np.uint8).reshape(height, width, 3)
    pictures = (Image.fromarray(colours[..., 0]), Image.fromarray(colours))
    encoded = []
    for picture, subsampling, quality, progressive in itertools.product(
        pictures, ("4:4:4", "4:2:2", "4:2:0"), (60, 95), (False, True)
    ):
        buffer = io.BytesIO()
        picture.save(
            buffer, "JPEG", quality=quality, subsampling=subsampling, progressive=progressive
        )
        encoded.append(buffer.getvalue())
    return encoded
