"""Images of every mode become 8-bit grey or RGB, as Pillow or plain arithmetic say."""

import io

import numpy as np
import pytest
from PIL import Image

from episodes import images
from episodes.errors import EpisodesError, UsageError

RGB = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
GREY = RGB[..., 0]


def saved(image: Image.Image, suffix: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, suffix, **options)
    return buffer.getvalue()


def test_rgb_is_kept() -> None:
    decoded = images.decode(saved(Image.fromarray(RGB), "PNG"), "x")
    np.testing.assert_array_equal(decoded, RGB)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr"])
@pytest.mark.parametrize("channels", [1, 3])
def test_other_modes_become_what_pillow_makes_of_them(mode: str, channels: int) -> None:
    suffix = "JPEG" if mode in ("CMYK", "YCbCr") else "PNG"
    encoded = saved(Image.fromarray(RGB).convert("RGB").convert(mode), suffix)
    expected = np.asarray(Image.open(io.BytesIO(encoded)).convert({1: "L", 3: "RGB"}[channels]))
    decoded = images.decode(encoded, "x", channels)
    assert decoded.shape == (9, 7, channels)
    np.testing.assert_array_equal(decoded.reshape(expected.shape), expected)


def test_sixteen_bits_are_scaled_and_not_clipped() -> None:
    levels = np.array([[0, 255, 256, 65535]], np.uint16)
    decoded = images.decode(saved(Image.fromarray(levels), "PNG"), "x")
    np.testing.assert_array_equal(decoded[0, :, 0], [0, 0, 1, 255])
    assert decoded.shape == (1, 4, 3)


def test_exif_orientation_is_ignored() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    encoded = saved(Image.fromarray(RGB), "PNG", exif=exif)
    np.testing.assert_array_equal(images.decode(encoded, "x"), RGB)


@pytest.mark.parametrize(
    "encoded",
    [
        b"",
        b"\xff\xd8\xff\xe0 not a picture",
        saved(Image.fromarray(RGB), "JPEG")[:-20],
        saved(Image.fromarray(RGB), "PNG")[:-30],
        saved(Image.fromarray(GREY.astype(np.float32)), "TIFF"),
    ],
)
def test_what_does_not_decode_is_named(encoded: bytes) -> None:
    with pytest.raises(EpisodesError, match=r"the image a/b.jpg does not decode \("):
        images.decode(encoded, "a/b.jpg")


def test_a_png_loses_nothing() -> None:
    for pixels in (RGB, GREY[..., np.newaxis]):
        decoded = images.decode(images.encode_png(pixels), "x", pixels.shape[2])
        np.testing.assert_array_equal(decoded, pixels)


def test_arrays_get_the_channels_asked_for() -> None:
    np.testing.assert_array_equal(images.as_channels(GREY, 3), np.stack([GREY] * 3, axis=2))
    luma = np.asarray(Image.fromarray(RGB).convert("L"))
    np.testing.assert_array_equal(images.as_channels(RGB, 1)[..., 0], luma)
    for wrong in (GREY.astype(np.float32), np.zeros((3, 3, 2), np.uint8), np.zeros(3, np.uint8)):
        with pytest.raises(EpisodesError, match="an image"):
            images.as_channels(wrong, 3)


@pytest.mark.parametrize("method", images.PILLOW_FILTERS)
def test_pillow_resizes(method: str) -> None:
    expected = Image.fromarray(RGB).resize((5, 5), Image.Resampling[method.upper()])
    np.testing.assert_array_equal(images.resize(RGB, 5, method), np.asarray(expected))
    square = Image.fromarray(RGB[1:8]).resize((5, 5), Image.Resampling[method.upper()])
    np.testing.assert_array_equal(images.resize(RGB, 5, f"crop-{method}"), np.asarray(square))


def test_a_resize_method_that_there_is_not() -> None:
    with pytest.raises(UsageError, match="unknown resize method 'bilinaer': did you mean 'bilin"):
        images.resize(RGB, 5, "bilinaer")


def test_boxes_are_cut_to_the_image() -> None:
    np.testing.assert_array_equal(images.crop(RGB, (-3, 2, 4, 99), "x"), RGB[2:, :4])
    with pytest.raises(EpisodesError, match=r"the box \(7, 0, 9, 3\) of x is outside of its 7x9"):
        images.crop(RGB, (7, 0, 9, 3), "x")
