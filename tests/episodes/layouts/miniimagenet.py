"""miniImageNet: Ravi-named JPEGs, ILSVRC-2012's tar, and the cached pickles of Ren et al."""

import gzip
import io
import tarfile
import zipfile
from functools import cache
from pathlib import Path

import numpy as np

from episodes import manifest
from episodes.manifest import PARTS, Manifest
from tests.episodes.layouts import Images, imagenet, python2

STRANGERS = ("n01440764", "n15075141")  # ILSVRC classes that are neither split's
CMYK_IMAGE = 231  # the rank of n04596742_4225.JPEG in its class


@cache
def ranks_and_numbers() -> dict[str, dict[int, int]]:
    """The shipped table, read here once more: by class, rank in Ravi's name to ILSVRC's number."""
    packed = (manifest.folder() / "miniimagenet.ilsvrc-files.tsv.gz").read_bytes()
    table = {}
    for line in gzip.decompress(packed).decode().splitlines()[1:]:
        class_name, ranks, numbers = line.split("\t")
        gaps = np.array([ranks.split(), numbers.split()], int)
        table[class_name] = dict(gaps.cumsum(axis=1).T.tolist())
    return table


def chosen(facts: Manifest) -> dict[str, dict[int, int]]:
    """Of each class, as many entries of the table as `facts` counts; the CMYK image is one."""
    few = {}
    for name, count in zip(facts.class_names, facts.class_images, strict=True):
        entries = ranks_and_numbers()[name]
        ranks = sorted(entries, key=lambda rank: (rank != CMYK_IMAGE, -rank))[: count or 0]
        few[name] = {rank: entries[rank] for rank in ranks}
    return few


def write_jpegs(folder: Path, facts: Manifest) -> Images:
    """images.zip, with what macOS leaves in zips."""
    images: Images = {
        (name, f"{name}{rank:08d}.jpg"): imagenet.picture(rank % 5, "RGB", "JPEG")
        for name, ranks in chosen(facts).items()
        for rank in ranks
    }
    with zipfile.ZipFile(folder / "images.zip", "w") as archive:
        archive.writestr("images/.DS_Store", b"stray")
        archive.writestr("__MACOSX/images/._n0153282900000005.jpg", b"stray")
        for (_, name), content in sorted(images.items(), key=lambda item: item[0][1][::-1]):
            archive.writestr(f"images/{name}", content)
    return images


def write_ilsvrc(folder: Path, facts: Manifest) -> Images:
    """ILSVRC's tar: the chosen images, others of the same classes, and other classes."""
    images: Images = {}
    classes = {}
    for name, numbers in chosen(facts).items():
        unlisted = max(ranks_and_numbers()[name].values()) + 1
        files = [f"{name}_{number}.JPEG" for number in (unlisted, *numbers.values())]
        classes[name] = files
        for place, rank in enumerate(numbers, start=1):
            image = imagenet.image_file(files[place], place)
            images[name, f"{name}{rank:08d}.jpg"] = image
    imagenet.write_tar(folder, classes, STRANGERS)
    return images


def pickles(facts: Manifest, names: dict[str, str]) -> tuple[dict[str, bytes], Images]:
    """The three pickles by name, rows of one class after the other, and the images in them."""
    files, images = {}, {}
    for part in PARTS:
        class_dict: dict[str, list[int]] = {}
        for index in facts.schemes["ravi-larochelle"].classes[part]:
            first = sum(map(len, class_dict.values()))
            last = first + (facts.class_images[index] or 0)
            class_dict[facts.class_names[index]] = list(range(first, last))
        rows = sum(map(len, class_dict.values()))
        pixels = np.random.default_rng(rows).integers(0, 256, (rows, 6, 8, 3), np.uint8)
        for class_name, places in class_dict.items():
            images |= {(class_name, f"{part}-{row:05d}"): pixels[row] for row in places}
        content = {"image_data": pixels, "class_dict": class_dict}
        files[f"mini-imagenet-cache-{names[part]}.pkl"] = python2.dumps(content)
    return files, images


def write_pickles(folder: Path, facts: Manifest) -> Images:
    """The files as Zenodo has them."""
    files, images = pickles(facts, {"train": "train", "val": "validation", "test": "test"})
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return images


def write_pickles_archive(folder: Path, facts: Manifest) -> Images:
    """The tar.gz, whose pickles lie at the top."""
    files, images = pickles(facts, {part: part for part in PARTS})
    with tarfile.open(folder / "mini-imagenet.tar.gz", "w:gz") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return images


def write_vinyals(folder: Path, facts: Manifest) -> Images:
    """ILSVRC's tar with more images than the three lists name; a blank line ends two of them."""
    classes = imagenet.chosen_files(facts)
    for part in PARTS:
        rows = [
            f"{file},{facts.class_names[index]}\n"
            for index in facts.schemes["vinyals"].classes[part]
            for file in sorted(classes[facts.class_names[index]])
        ]
        text = "filename,class\n" + "".join(rows) + ("" if part == "train" else "\n")
        (folder / f"vinyals-{part}.csv").write_text(text)
    unlisted = {name: [*files, f"{name}_31337.JPEG"] for name, files in classes.items()}
    imagenet.write_tar(folder, unlisted, STRANGERS)
    return imagenet.images_of(classes)


LAYOUTS = {
    ("miniimagenet", "cached-pickles"): write_pickles,
    ("miniimagenet", "cached-pickles-archive"): write_pickles_archive,
    ("miniimagenet", "ravi-jpegs"): write_jpegs,
    ("miniimagenet", "ilsvrc-train"): write_ilsvrc,
    ("miniimagenet-vinyals", "ilsvrc-train"): write_vinyals,
}
