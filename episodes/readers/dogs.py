"""Stanford Dogs: two tars, `Images/CLASS/ID.jpg` and for the boxes `Annotation/CLASS/ID` (XML)."""

import re
from collections.abc import Iterator
from pathlib import Path

from episodes.archive import Member, members
from episodes.errors import EpisodesError
from episodes.manifest import Manifest, Source
from episodes.readers import Box, Record, locate
from episodes.readers.annotations import FETCH_AGAIN, box_for

ANNOTATION_PATH = re.compile(r"(?:.+/)?(?P<name>(?P<cls>n\d{8}-[^/]+)/(?P<stem>n\d{8}_\d+))")
IMAGE_PATH = re.compile(ANNOTATION_PATH.pattern + r"\.jpg")
EDGES = ("xmin", "ymin", "xmax", "ymax")
LARGEST_ANNOTATION = 1 << 20


def records(manifest: Manifest, source: Source, folder: Path, boxes: bool) -> Iterator[Record]:
    """Every photograph in `folder`, as its file, in the archive's order; the id is the file's name.

    Of several dogs in an image, the box is that of the first annotated. Raises EpisodesError for a
    missing or damaged archive, and for an image that has no box where `boxes` asks for them.
    """
    path = locate(source.files[0], folder)
    known = _boxes(locate(source.files[1], folder)) if boxes else {}
    for member in members(path):
        if match := IMAGE_PATH.fullmatch(member.name):
            name, class_name, stem = match["name"], match["cls"], match["stem"]
            box = box_for(known, name, f"{name}.jpg", "annotation.tar") if boxes else None
            yield Record(class_name, f"{stem}.jpg", member.read(), box)


def _boxes(path: Path) -> dict[str, Box]:
    """The box of every annotated image, by CLASS/ID without suffix."""
    return {
        match["name"]: _first_box(member, path)
        for member in members(path)
        if (match := ANNOTATION_PATH.fullmatch(member.name))
    }


def _first_box(member: Member, path: Path) -> Box:
    from xml.etree import ElementTree

    damaged = EpisodesError(f"{path.name}, {member.name}: no annotation of a box; {FETCH_AGAIN}")
    encoded = member.read(LARGEST_ANNOTATION)
    # A document type may hold entities that grow without end; UTF-16 (with its zeros) may hide one.
    if b"<!" in encoded or b"\0" in encoded:
        raise damaged
    try:
        box = ElementTree.fromstring(encoded).find("object/bndbox")
        if box is None:
            raise damaged
        left, upper, right, lower = (int(box.findtext(edge, "")) for edge in EDGES)
    except (ElementTree.ParseError, ValueError, LookupError):
        raise damaged from None
    return left, upper, right, lower
