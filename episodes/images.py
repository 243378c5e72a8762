"""Decoding and resizing of images: any mode to uint8 grey or RGB, as Pillow does it."""

import io
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from episodes import jpeg
from episodes.errors import EpisodesError, UsageError, unknown_name

if TYPE_CHECKING:
    from PIL.Image import Image

PILLOW_FILTERS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
OPENCV_FILTERS = ("cv2-linear", "cv2-area", "cv2-cubic")
CENTRE_SQUARE = "crop-"
RESIZE_METHODS = tuple(
    prefix + method for prefix in ("", CENTRE_SQUARE) for method in PILLOW_FILTERS + OPENCV_FILTERS
)
MODES = {1: "L", 3: "RGB"}
# Not all that Pillow knows: some formats would start another program on a stranger's bytes.
# The first to know its own is asked no further.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "JPEG2000", "PPM", "TGA", "TIFF", "WEBP")
PNG_COMPRESSION = 1
SIXTEEN_BIT_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N")


def decode(encoded: bytes, name: str, channels: int = 3) -> np.ndarray:
    """The image as uint8 [H, W, channels]: grey for 1 channel, RGB for 3.

    The format is told from the bytes, whatever the suffix. Alpha is dropped, palettes and CMYK are
    converted as Pillow does, 16-bit grey is scaled to 8 bits, and EXIF orientation is ignored, as
    the field does. Raises EpisodesError naming `name` for what does not decode. Where simplejpeg is
    installed, it decodes the colour JPEGs of which it gives the same pixels.
    """
    if channels == 3 and (rgb := jpeg.decode_rgb(encoded)) is not None:
        return rgb
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(encoded), formats=FORMATS) as image:
            levels = _eight_bit(image)
            mode = MODES[channels]
            pixels = np.asarray(levels if levels.mode == mode else levels.convert(mode))
    except UnidentifiedImageError:
        raise EpisodesError(f"the image {name} does not decode (of no known format)") from None
    except Exception as error:  # Pillow's plug-ins let everything through on damaged files
        raise EpisodesError(f"the image {name} does not decode ({_one_line(error)})") from None
    return pixels.reshape(*pixels.shape[:2], channels)


def encode_png(pixels: np.ndarray) -> bytes:
    """`pixels` (uint8 [H, W, 1] or [H, W, 3]) as a PNG, which loses nothing."""
    from PIL import Image

    encoded = io.BytesIO()
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    image.save(encoded, "PNG", compress_level=PNG_COMPRESSION)
    return encoded.getvalue()


def as_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    """uint8 `pixels` [H, W] or [H, W, C] as [H, W, channels]: grey repeated, or RGB made grey.

    Raises EpisodesError for another type or shape.
    """
    from PIL import Image

    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or 0 in pixels.shape:
        raise EpisodesError(
            f"an image is {pixels.dtype} {list(pixels.shape)}; expected uint8 [H, W] or [H, W, C]"
        )
    if pixels.ndim == 2:
        pixels = pixels[..., np.newaxis]
    found = pixels.shape[2]
    if found == channels:
        return pixels
    if found not in MODES:
        raise EpisodesError(f"an image has {found} channels; expected 1 or 3")
    image = Image.fromarray(pixels[..., 0] if found == 1 else pixels)
    converted = np.asarray(image.convert(MODES[channels]))
    return converted.reshape(*converted.shape[:2], channels)


def crop(pixels: np.ndarray, box: tuple[int, int, int, int], name: str) -> np.ndarray:
    """`pixels` [H, W, C] inside `box` (left, upper, right, lower), cut to the image's own edges.

    Raises EpisodesError naming `name` where nothing of the box is inside the image.
    """
    height, width = pixels.shape[:2]
    left, upper = max(box[0], 0), max(box[1], 0)
    right, lower = min(box[2], width), min(box[3], height)
    if left >= right or upper >= lower:
        raise EpisodesError(f"the box {box} of {name} is outside of its {width}x{height} pixels")
    return pixels[upper:lower, left:right]


def check_method(method: str) -> None:
    """Raises UsageError unless `method` is one of RESIZE_METHODS and its library is there."""
    if method not in RESIZE_METHODS:
        raise unknown_name("resize method", method, RESIZE_METHODS)
    if method.removeprefix(CENTRE_SQUARE) in OPENCV_FILTERS and find_spec("cv2") is None:
        raise UsageError(
            f"the resize method {method} needs OpenCV: type `pip install opencv-python-headless`"
        )


def resize(pixels: np.ndarray, size: int, method: str) -> np.ndarray:
    """`pixels` (uint8 [H, W, C]) as uint8 [size, size, C] by the named method.

    Pillow's filters are antialiased; "cv2-..." are OpenCV's, which "cv2-area" alone antialiases;
    the prefix "crop-" cuts the centred largest square first. Raises UsageError for another method,
    and where OpenCV is asked for and not installed.
    """
    check_method(method)
    if method.startswith(CENTRE_SQUARE):
        pixels, method = _centre_square(pixels), method.removeprefix(CENTRE_SQUARE)
    if pixels.shape[:2] == (size, size):
        return pixels
    if method in OPENCV_FILTERS:
        return _resize_by_opencv(pixels, size, method)
    return _resize_by_pillow(pixels, size, method)


def _resize_by_pillow(pixels: np.ndarray, size: int, method: str) -> np.ndarray:
    from PIL import Image

    channels = pixels.shape[2]
    image = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
    resized = image.resize((size, size), Image.Resampling[method.upper()])
    return np.asarray(resized).reshape(size, size, channels)


def _resize_by_opencv(pixels: np.ndarray, size: int, method: str) -> np.ndarray:
    import cv2

    interpolation = getattr(cv2, f"INTER_{method.removeprefix('cv2-').upper()}")
    resized = cv2.resize(np.ascontiguousarray(pixels), (size, size), interpolation=interpolation)
    return np.asarray(resized, np.uint8).reshape(size, size, pixels.shape[2])


def _centre_square(pixels: np.ndarray) -> np.ndarray:
    height, width = pixels.shape[:2]
    edge = min(height, width)
    top, left = (height - edge) // 2, (width - edge) // 2
    return pixels[top : top + edge, left : left + edge]


def _eight_bit(image: "Image") -> "Image":
    """`image`, its 16-bit levels scaled to 8 bits: Pillow's own conversion clips them at 255."""
    from PIL import Image

    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers; expected whole ones")
    if image.mode not in SIXTEEN_BIT_MODES:
        return image
    levels = np.asarray(image).astype(np.int64)
    if levels.min() < 0 or levels.max() > 0xFFFF:
        raise ValueError("its levels are outside of 16 bits")
    # Files of 32-bit levels hold 8-bit ones as often as 16-bit ones: their largest level tells.
    shift = 0 if image.mode == "I" and levels.max() <= 0xFF else 8
    return Image.fromarray((levels >> shift).astype(np.uint8))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
