"""Decoding and resizing of images with Pillow."""

import io

import numpy as np

from episodes.errors import EpisodesError, unknown_name

RESIZE_FILTERS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")


def decode_grey(encoded: bytes, name: str) -> np.ndarray:
    """The image as uint8 [H, W], 0 black to 255 white; raises EpisodesError naming `name`."""
    from PIL import Image, UnidentifiedImageError

    bomb = Image.DecompressionBombError
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            return np.asarray(image.convert("L"))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, bomb) as error:
        raise EpisodesError(f"the image {name} does not decode ({_one_line(error)})") from None


def resize(pixels: np.ndarray, size: int, filter_name: str) -> np.ndarray:
    """`pixels` (uint8 [H, W]) as uint8 [size, size], antialiased by the named Pillow filter."""
    from PIL import Image

    if filter_name not in RESIZE_FILTERS:
        raise unknown_name("resize filter", filter_name, RESIZE_FILTERS)
    if pixels.shape == (size, size):
        return pixels
    resample = Image.Resampling[filter_name.upper()]
    return np.asarray(Image.fromarray(pixels).resize((size, size), resample))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
