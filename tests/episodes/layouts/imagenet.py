"""ILSVRC-2012's training tar: a tar of class tars, neither in an order that means anything."""

import io
import tarfile
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from episodes.manifest import Manifest
from tests.episodes.layouts import Images

OUTER = "ILSVRC2012_img_train.tar"
# fmt: off
CMYK = frozenset({
    "n01739381_1309", "n02077923_14822", "n02447366_23489", "n02492035_15739", "n02747177_10752",
    "n03018349_4028", "n03062245_4620", "n03347037_9675", "n03467068_12171", "n03529860_11437",
    "n03544143_17228", "n03633091_5218", "n03710637_5125", "n03961711_5286", "n04033995_2932",
    "n04258138_17003", "n04264628_27969", "n04336792_7448", "n04371774_5854", "n04596742_4225",
    "n07583066_647", "n13037406_4650",
})
# fmt: on
PNG = frozenset({"n02105855_2933"})  # under a .JPEG name
IRREGULAR = {stem[:9]: f"{stem}.JPEG" for stem in CMYK | PNG}
GREY_EVERY = 7
DIFFERENT = 14


@cache
def picture(number: int, mode: str, format: str) -> bytes:
    """An encoded image of 8 x 6 pixels: one of a few, that `number` picks."""
    pixels = np.random.default_rng(number).integers(0, 256, (6, 8, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, format)
    return file.getvalue()


def image_file(name: str, number: int) -> bytes:
    """What the file `name` holds: a JPEG, which may be grey or CMYK, or for one name a PNG."""
    stem, number = name.removesuffix(".JPEG"), number % DIFFERENT
    if stem in PNG:
        return picture(number, "RGB", "PNG")
    mode = "CMYK" if stem in CMYK else "L" if number % GREY_EVERY == 3 else "RGB"
    return picture(number, mode, "JPEG")


def file_names(class_name: str, count: int) -> list[str]:
    """`count` names as ILSVRC's, the class's irregular image first, in no order of numbers."""
    numbered = [f"{class_name}_{number}.JPEG" for number in (10026, 9, 117)]
    irregular = [IRREGULAR[class_name]] if class_name in IRREGULAR else []
    return (irregular + numbered)[:count]


def chosen_files(facts: Manifest) -> dict[str, list[str]]:
    """As many file names of each class as `facts` counts images."""
    return {
        name: file_names(name, count or 0)
        for name, count in zip(facts.class_names, facts.class_images, strict=True)
    }


def tar_of(files: Iterable[tuple[str, bytes]]) -> bytes:
    """A tar with `files` in their order."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def write_tar(
    folder: Path, classes: Mapping[str, list[str]], strangers: Iterable[str] = ()
) -> None:
    """The outer tar: classes from the last to the first; `strangers` are no tars at all inside."""
    inner = [(f"{name}.tar", _class_tar(files)) for name, files in classes.items()]
    inner += [(f"{name}.tar", b"never to be opened") for name in strangers]
    (folder / OUTER).write_bytes(tar_of(reversed(inner)))


def _class_tar(files: list[str]) -> bytes:
    return tar_of((name, image_file(name, number)) for number, name in enumerate(files))


def images_of(classes: Mapping[str, list[str]]) -> Images:
    """What is in the tar, by class and file name."""
    return {
        (class_name, name): image_file(name, number)
        for class_name, names in classes.items()
        for number, name in enumerate(names)
    }


def write_all(folder: Path, facts: Manifest) -> Images:
    """The outer tar with a few images of every class of `facts`."""
    classes = chosen_files(facts)
    write_tar(folder, classes, strangers=["n99999999"])
    return images_of(classes)


LAYOUTS = {("imagenet", "ilsvrc-train"): write_all}
