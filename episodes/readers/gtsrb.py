"""GTSRB: one zip, `GTSRB/Final_Training/Images/000CC/TTTTT_FFFFF.ppm`, a list in each class."""

import re
from collections.abc import Iterator
from pathlib import Path

from episodes.archive import members
from episodes.errors import EpisodesError
from episodes.manifest import Manifest, Source
from episodes.readers import Record, locate
from episodes.readers.numbered import by_number, named

IMAGE_PATH = re.compile(r"(?:.+/)?Final_Training/Images/(?P<cls>\d{5})/(?P<file>\d{5}_\d{5}\.ppm)")
# The training set of the online competition, which torchvision has.
SMALLER_SET = re.compile(r"(?:.+/)?Training/\d{5}/\d{5}_\d{5}\.ppm")


def records(manifest: Manifest, source: Source, folder: Path, boxes: bool) -> Iterator[Record]:
    """Every photograph in `folder`, as its PPM, in the archive's order; the id is the file's name.

    Raises EpisodesError for a missing or damaged archive, and for one of another set.
    """
    path = locate(source.files[0], folder)
    classes = by_number(manifest.class_names)
    found = smaller = False
    for member in members(path):
        if match := IMAGE_PATH.fullmatch(member.name):
            found = True
            class_name = named(classes, int(match["cls"]), f"{path.name}, {member.name}")
            yield Record(class_name, match["file"], member.read())
        smaller = smaller or SMALLER_SET.fullmatch(member.name) is not None
    if smaller and not found:
        raise EpisodesError(
            f"{path} holds the smaller training set of GTSRB's online competition "
            f"(GTSRB-Training_fixed.zip), not the final one: fetch {source.files[0].name}"
        )
