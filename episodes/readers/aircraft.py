"""FGVC-Aircraft: one tar.gz, `data/images/NUMBER.jpg`, the variants and boxes in lists beside."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from episodes.archive import members
from episodes.errors import EpisodesError
from episodes.manifest import Manifest, Source
from episodes.readers import Box, Record, locate
from episodes.readers.annotations import box_for, numbers, read_lists

IMAGE_PATH = re.compile(r"(?:.+/)?images/(?P<number>[^/.]+)\.jpg")
VARIANTS = tuple(f"images_variant_{part}.txt" for part in ("train", "val", "trainval", "test"))
BOXES = "images_box.txt"


def records(manifest: Manifest, source: Source, folder: Path, boxes: bool) -> Iterator[Record]:
    """Every photograph that a list of variants names, as its JPEG, in the archive's order.

    The id is the file's name; a box has its list's numbers as they stand, as Meta-Dataset crops.
    Raises EpisodesError for a missing or damaged archive, for one without lists, and for an image
    that has no box where `boxes` asks for them.
    """
    path = locate(source.files[0], folder)
    # A pass of their own, for the lists may come after the images.
    lists = read_lists(path, (*VARIANTS, BOXES) if boxes else VARIANTS)
    variants = {number: variant for name in VARIANTS for number, variant in lists[name].items()}
    if not variants:
        raise EpisodesError(f"{path.name} has no {VARIANTS[0]}: fetch the archive again")
    known = _boxes(lists[BOXES], path) if boxes else {}
    for member in members(path):
        match = IMAGE_PATH.fullmatch(member.name)
        if match and (number := match["number"]) in variants:
            box = box_for(known, number, f"{number}.jpg", path.name) if boxes else None
            yield Record(variants[number], f"{number}.jpg", member.read(), box)


def _boxes(entries: Mapping[str, str], path: Path) -> dict[str, Box]:
    return {
        number: _edges(text, f"{path.name}, {BOXES}, image {number}")
        for number, text in entries.items()
    }


def _edges(text: str, where: str) -> Box:
    left, upper, right, lower = map(round, numbers(text, where))
    return left, upper, right, lower
