"""FGVC-Aircraft in small: `fgvc-aircraft-2013b.tar.gz`, its lists before and after the images."""

import tarfile
from pathlib import Path

from PIL import Image

from episodes.manifest import Manifest
from tests.episodes.layouts import Images, Writer
from tests.episodes.layouts.making import add, encoded, images_of, lines, picture, shuffled

ROOT = "fgvc-aircraft-2013b"
WIDTH, HEIGHT = 12, 10
STRIP, STRIP_COLOUR = 20, (20, 20, 20)
PARTS = ("train", "val", "test")


def write_archive(folder: Path, facts: Manifest) -> Images:
    """Each picture has the strip of 20 dark rows at its foot that names the photograph's owner."""
    images: Images = {}
    variants: dict[str, str] = {}
    for number, variant, _ in images_of(facts):
        photograph = Image.new("RGB", (WIDTH, HEIGHT + STRIP), STRIP_COLOUR)
        photograph.paste(picture(number, WIDTH, HEIGHT))
        file = f"{34309 + 7919 * number:07d}"
        images[variant, f"{file}.jpg"] = encoded(photograph)
        variants[file] = variant

    files = shuffled(list(variants))
    listed = {part: files[place :: len(PARTS)] for place, part in enumerate(PARTS)}
    listed["trainval"] = sorted(listed["train"] + listed["val"])
    boxes = [
        f"{f} {1 + n % 3} {1 + n % 2} {WIDTH - n % 3} {HEIGHT}" for n, f in enumerate(sorted(files))
    ]
    early = {
        "data/families.txt": "A300\nA310\n",
        "data/manufacturers.txt": "ATR\nAirbus\n",
        "data/images_variant_train.txt": _list(listed["train"], variants),
    }
    late = {
        "data/images_box.txt": lines(boxes),
        "data/images_family_train.txt": lines([f"{file} A300" for file in listed["train"]]),
        "data/images_manufacturer_train.txt": lines([f"{file} ATR" for file in listed["train"]]),
        "data/images_train.txt": lines(listed["train"]),
        "data/images_variant_test.txt": _list(listed["test"], variants),
        "data/images_variant_trainval.txt": _list(listed["trainval"], variants),
        "data/images_variant_val.txt": _list(listed["val"], variants),
        "data/variants.txt": lines(sorted(set(variants.values()))),
        "README.md": "# FGVC-Aircraft Benchmark\n",
        "evaluation.m": "function evaluation()\n",
    }
    with tarfile.open(folder / "fgvc-aircraft-2013b.tar.gz", "w:gz", compresslevel=1) as tar:
        add(tar, ROOT, None)
        for name, text in early.items():
            add(tar, f"{ROOT}/{name}", text)
        for file in files:
            add(tar, f"{ROOT}/data/images/{file}.jpg", images[variants[file], f"{file}.jpg"])
        for name, text in late.items():
            add(tar, f"{ROOT}/{name}", text)
    return images


def _list(files: list[str], variants: dict[str, str]) -> str:
    return lines([f"{file} {variants[file]}" for file in files])


LAYOUTS: dict[tuple[str, str], Writer] = {("aircraft", "archive"): write_archive}
