"""CUB-200-2011: one tgz, `CUB_200_2011/images/CLASS/FILE.jpg`, the boxes in lists beside."""

import re
from collections.abc import Iterator
from pathlib import Path

from episodes.archive import members
from episodes.manifest import Manifest, Source
from episodes.readers import Box, Record, locate
from episodes.readers.annotations import box_for, numbers, read_lists

IMAGE_PATH = re.compile(r"(?:.+/)?images/(?P<name>(?P<cls>\d{3}\.[^/]+)/(?P<file>[^/.][^/]*\.jpg))")
NAMES, BOXES = "images.txt", "bounding_boxes.txt"


def records(manifest: Manifest, source: Source, folder: Path, boxes: bool) -> Iterator[Record]:
    """Every photograph in `folder`, as its JPEG, in the archive's order; the id is the file's name.

    The edges of a box are rounded to whole pixels, as Pillow's crop does. Raises EpisodesError for
    a missing or damaged archive, and for an image that has no box where `boxes` asks for them.
    """
    path = locate(source.files[0], folder)
    known = _boxes(path) if boxes else {}
    for member in members(path):
        if match := IMAGE_PATH.fullmatch(member.name):
            name, class_name, file = match["name"], match["cls"], match["file"]
            box = box_for(known, name, name, path.name) if boxes else None
            yield Record(class_name, file, member.read(), box)


def _boxes(path: Path) -> dict[str, Box]:
    """The boxes by CLASS/FILE: a pass of its own, for the lists may come after the images."""
    lists = read_lists(path, (NAMES, BOXES))
    return {
        lists[NAMES][number]: _edges(text, f"{path.name}, {BOXES}, image {number}")
        for number, text in lists[BOXES].items()
        if number in lists[NAMES]
    }


def _edges(text: str, where: str) -> Box:
    x, y, width, height = numbers(text, where)
    return round(x), round(y), round(x + width), round(y + height)
