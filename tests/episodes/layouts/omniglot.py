"""Omniglot's two zips in small: 1-bit PNGs of 105 x 105, ink 0 on paper 1."""

import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from episodes.manifest import Manifest
from tests.episodes.layouts import Images
from tests.episodes.layouts.making import encoded, images_of, shuffled

ARCHIVES = ("images_background", "images_evaluation")
DIFFERENT = 50


def write_archives(folder: Path, facts: Manifest) -> Images:
    """Both zips, drawings in no order, with stray files."""
    drawings = [drawing(number) for number in range(DIFFERENT)]
    images: Images = {}
    numbers = {name: number for number, name in enumerate(facts.class_names, start=1)}
    for number, name, place in images_of(facts):
        images[name, f"{numbers[name]:04d}_{place + 1:02d}.png"] = drawings[number % DIFFERENT]
    for archive in ARCHIVES:
        inside = {f"{name}/{file}": image for (name, file), image in images.items()}
        with zipfile.ZipFile(folder / f"{archive}.zip", "w") as zip_file:
            zip_file.writestr(f"{archive}/.DS_Store", b"stray")
            for path in shuffled([path for path in inside if path.startswith(archive)]):
                zip_file.writestr(path, inside[path])
    return images


def drawing(number: int) -> bytes:
    """A stroke that no other of the few numbers has."""
    paper = np.ones((105, 105), bool)
    paper[10 + number : 14 + number, 10:95] = False
    return encoded(Image.fromarray(paper).convert("1"), "PNG")
