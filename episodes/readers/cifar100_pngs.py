"""CIFAR-100 as PNG files, `cifar100/data/CLASS/NAME.png`: the archive that came with CIFAR-FS."""

import re
from collections.abc import Iterator
from pathlib import Path

from episodes.archive import members
from episodes.manifest import Manifest, Source
from episodes.readers import Record, locate

IMAGE_PATH = re.compile(r"cifar100/data/(?P<cls>[^/]+)/(?P<file>[^/]+\.png)")


def records(manifest: Manifest, source: Source, folder: Path, boxes: bool) -> Iterator[Record]:
    """Every image, encoded, with its file name as id, in the archive's order.

    Raises EpisodesError for a missing or damaged archive.
    """
    for member in members(locate(source.files[0], folder)):
        if match := IMAGE_PATH.fullmatch(member.name):
            yield Record(match["cls"], match["file"], member.read())
