"""Describable Textures: one tar.gz, `dtd/images/CLASS/CLASS_NNNN.jpg`."""

import re
from collections.abc import Iterator
from pathlib import Path

from episodes.archive import members
from episodes.manifest import Manifest, Source
from episodes.readers import Record, locate

IMAGE_PATH = re.compile(r"(?:.+/)?images/(?P<cls>[^/]+)/(?P<file>(?P=cls)_\d+\.jpg)")


def records(manifest: Manifest, source: Source, folder: Path, boxes: bool) -> Iterator[Record]:
    """Every photograph in `folder`, as its JPEG, in the archive's order; the id is the file's name.

    Raises EpisodesError for a missing or damaged archive.
    """
    for member in members(locate(source.files[0], folder)):
        if match := IMAGE_PATH.fullmatch(member.name):
            yield Record(match["cls"], match["file"], member.read())
