"""JPEGs by simplejpeg: Pillow's pixels bit for bit, or left to Pillow."""

import io
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from episodes import images, jpeg
from episodes.errors import EpisodesError

# What the tests need of simplejpeg, by Pillow: with ERROR the levels of grey pictures are wrong.
STAND_IN = """
import io
import numpy as np
from PIL import Image, JpegImagePlugin

def _open(data):
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
    except OSError as error:
        raise ValueError(str(error)) from None
    return image

def decode_jpeg_header(data):
    image = _open(data)
    sampling = {0: "444", 1: "422", 2: "420"}.get(JpegImagePlugin.get_sampling(image), "411")
    kind = {"L": ("Gray", "Gray"), "CMYK": ("CMYK", "444")}.get(image.mode, ("YCbCr", sampling))
    return (image.height, image.width, *kind)

def decode_jpeg(data, colorspace):
    image = _open(data)
    return np.array(image.convert(colorspace)) + np.uint8(ERROR * (image.mode == "L"))
"""


def saved(pixels: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def by_pillow(encoded: bytes) -> np.ndarray | None:
    try:
        return np.asarray(Image.open(io.BytesIO(encoded), formats=("JPEG",)).convert("RGB"))
    except (OSError, SyntaxError):
        return None


def decoded(encoded: bytes) -> np.ndarray | None:
    try:
        return images.decode(encoded, "x")
    except EpisodesError:
        return None


@pytest.fixture
def no_memory() -> Iterator[None]:
    """Nothing that was known of simplejpeg before is known in the test, and none of it after."""
    kept = sys.modules.pop("simplejpeg", None)
    for known in (jpeg.agreed_kinds, jpeg._simplejpeg):
        known.cache_clear()
    yield
    for known in (jpeg.agreed_kinds, jpeg._simplejpeg):
        known.cache_clear()
    sys.modules.pop("simplejpeg", None)
    if kept is not None:
        sys.modules["simplejpeg"] = kept


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_memory: None) -> Path:
    """The file of a module named simplejpeg, which is found before any other."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / "simplejpeg.py"


PIXELS = np.random.default_rng(2).integers(0, 256, (19, 23, 3), np.uint8)


def test_kinds_that_both_decode_alike_are_taken(stand_in: Path) -> None:
    stand_in.write_text(STAND_IN.replace("ERROR", "0"))
    colours = {("YCbCr", sampling) for sampling in ("444", "422", "420")}
    assert jpeg.agreed_kinds() == colours | {("Gray", "Gray")}
    found = jpeg.decode_rgb(saved(PIXELS))
    assert found is not None
    np.testing.assert_array_equal(found, by_pillow(saved(PIXELS)))


def test_kinds_that_differ_are_left_to_pillow(stand_in: Path) -> None:
    stand_in.write_text(STAND_IN.replace("ERROR", "1"))
    assert ("Gray", "Gray") not in jpeg.agreed_kinds() and ("YCbCr", "420") in jpeg.agreed_kinds()
    grey = saved(PIXELS[..., 0])
    assert jpeg.decode_rgb(grey) is None
    np.testing.assert_array_equal(images.decode(grey, "x"), by_pillow(grey))


def test_what_is_no_such_jpeg_is_left_to_pillow(stand_in: Path) -> None:
    stand_in.write_text(STAND_IN.replace("ERROR", "0"))
    cmyk = io.BytesIO()
    Image.fromarray(PIXELS).convert("CMYK").save(cmyk, "JPEG")
    for encoded in (cmyk.getvalue(), saved(PIXELS)[:-20], images.encode_png(PIXELS), b""):
        assert jpeg.decode_rgb(encoded) is None
    assert images.decode(saved(PIXELS), "x", channels=1).shape == (19, 23, 1)


def test_large_ones_are_left_to_pillow(stand_in: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in.write_text(STAND_IN.replace("ERROR", "0"))
    monkeypatch.setattr(jpeg, "MOST_PIXELS", 19 * 23 - 1)
    assert jpeg.decode_rgb(saved(PIXELS)) is None


def test_without_simplejpeg_pillow_decodes(
    no_memory: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jpeg, "find_spec", lambda name: None)
    assert jpeg.agreed_kinds() == frozenset() and jpeg.decode_rgb(saved(PIXELS)) is None
    np.testing.assert_array_equal(images.decode(saved(PIXELS), "x"), by_pillow(saved(PIXELS)))


pictures = st.fixed_dictionaries(
    {
        "quality": st.integers(1, 100),
        "subsampling": st.sampled_from(("4:4:4", "4:2:2", "4:2:0", "4:1:1")),
        "progressive": st.booleans(),
        "optimize": st.booleans(),
        "restart_marker_blocks": st.integers(0, 3),
    }
)


@given(
    size=st.tuples(st.integers(1, 50), st.integers(1, 50)),
    grey=st.booleans(),
    smooth=st.booleans(),
    options=pictures,
    damage=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), max_size=2),
    cut=st.floats(0.3, 1),
)
def test_the_library_gives_what_pillow_gives_or_nothing(
    size: tuple[int, int],
    grey: bool,
    smooth: bool,
    options: dict[str, object],
    damage: list[tuple[float, int]],
    cut: float,
) -> None:
    pytest.importorskip("simplejpeg")
    assert ("YCbCr", "420") in jpeg.agreed_kinds()
    pixels = np.random.default_rng(size).integers(0, 256, (*size, 3), np.uint8)
    if smooth:
        pixels = np.cumsum(pixels // 64, axis=1, dtype=np.uint8)
    whole = saved(pixels[..., 0] if grey else pixels, **options)
    spoilt = bytearray(whole[: round(cut * len(whole))])
    for place, change in damage:
        spoilt[int(place * len(spoilt))] ^= change
    for encoded in (whole, bytes(spoilt)):
        found, expected = jpeg.decode_rgb(encoded), by_pillow(encoded)
        if found is not None:
            np.testing.assert_array_equal(found, expected)
        again = decoded(encoded)
        assert (again is None) == (expected is None)
    assert options["subsampling"] == "4:1:1" or jpeg.decode_rgb(whole) is not None
