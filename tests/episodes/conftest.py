"""A small dataset in Omniglot's layout: two zips of 1-bit 105 x 105 PNGs, ink 0 on paper 1."""

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import pytest
from PIL import Image

from episodes import manifest
from episodes.manifest import Manifest
from episodes.prepare import prepare
from episodes.store import Store

ALPHABETS = {
    "images_background": ("Alphabet_of_the_Magi", "Blackfoot_(Canadian_Aboriginal_Syllabics)"),
    "images_evaluation": ("Angelic", "ULOG"),
}
CHARACTERS = 4
DRAWERS = 20

MANIFEST = """
name = "tiny"
title = "A small dataset in Omniglot's layout"
version = "1"
homepage = "https://example.org/tiny"
licence = "MIT"
redistribution = true
citation = "none"
[counts]
classes = 16
images = 320
images_per_class = 20
[image]
size = 28
channels = 1
resize = "bilinear"
[[sources]]
name = "archives"
reader = "omniglot"
[[sources.files]]
name = "images_background.zip"
extracted = "images_background"
bytes = 1
sha256 = "00"
access = "open"
urls = ["https://example.org/images_background.zip"]
[[sources.files]]
name = "images_evaluation.zip"
extracted = "images_evaluation"
bytes = 1
sha256 = "00"
access = "open"
urls = ["https://example.org/images_evaluation.zip"]
[splits.halves]
default = true
train = 8
val = 0
test = 8
source = "the two archives"
[splits.quarters]
train = 8
val = 4
test = 4
source = "alphabets"
[training]
iterations = 3
"""


@dataclass(frozen=True)
class Tiny:
    """The small dataset: its manifest, the folder of its archives, and its drawings by path."""

    manifest: Manifest
    source: Path
    drawings: dict[str, np.ndarray]

    def prepare(self, home: Path, **options: object) -> Store:
        return prepare(self.manifest, self.source, home=home, **options)  # type: ignore[arg-type]


def draw(random: Random) -> np.ndarray:
    """bool [105, 105]: True where there is paper; a thick random line of ink."""
    paper = np.ones((105, 105), bool)
    x0, y0, x1, y1 = (10 + int(80 * random.random()) for _ in range(4))
    for step in range(201):
        x, y = x0 + step * (x1 - x0) // 200, y0 + step * (y1 - y0) // 200
        paper[y : y + 4, x : x + 4] = False
    return paper


def one_bit_png(paper: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(paper).convert("1").save(buffer, "PNG")
    return buffer.getvalue()


def write_archives(folder: Path, drawings: dict[str, np.ndarray]) -> None:
    """The two zips with their entries in an order that is not the classes'."""
    for archive in ALPHABETS:
        with zipfile.ZipFile(folder / f"{archive}.zip", "w") as zip_file:
            zip_file.writestr(f"{archive}/.DS_Store", b"stray")
            for path in sorted(drawings, key=lambda path: path[::-1]):
                if path.startswith(archive):
                    zip_file.writestr(path, one_bit_png(drawings[path]))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    folder = tmp_path_factory.mktemp("tiny")
    random = Random(0)
    drawings, rows = {}, ["class\thalves\tquarters"]
    number = 0
    for archive, alphabets in ALPHABETS.items():
        for alphabet in alphabets:
            for character in range(1, CHARACTERS + 1):
                number += 1
                name = f"{archive}/{alphabet}/character{character:02d}"
                half = "train" if archive == "images_background" else "test"
                quarter = {"Angelic": "val", "ULOG": "test"}.get(alphabet, "train")
                rows.append(f"{name}\t{half}\t{quarter}")
                for drawer in range(1, DRAWERS + 1):
                    drawings[f"{name}/{number:04d}_{drawer:02d}.png"] = draw(random)
    write_archives(folder, drawings)
    (folder / "tiny.toml").write_text(MANIFEST)
    (folder / "tiny.classes.tsv").write_text("\n".join(rows) + "\n")
    return Tiny(manifest.parse(folder / "tiny.toml"), folder, drawings)


@pytest.fixture(scope="session")
def tiny_store(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Store:
    return tiny.prepare(tmp_path_factory.mktemp("tiny-home"))
