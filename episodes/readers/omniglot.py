"""Omniglot: two zips of 1-bit 105 x 105 PNGs, `ARCHIVE/ALPHABET/characterNN/NNNN_NN.png`."""

import re
from collections.abc import Iterator
from pathlib import Path

from episodes.archive import members
from episodes.manifest import Manifest, Source
from episodes.readers import Record, locate

IMAGE_PATH = re.compile(r"(?P<cls>images_\w+/[^/]+/character\d+)/(?P<file>\d+_\d+\.png)")


def records(manifest: Manifest, source: Source, folder: Path, boxes: bool) -> Iterator[Record]:
    """Every drawing in `folder`, in the archives' order: ink 0 on paper 1, to be inverted.

    Raises EpisodesError for a missing or damaged archive.
    """
    for file in source.files:
        for member in members(locate(file, folder)):
            if match := IMAGE_PATH.fullmatch(member.name):
                yield Record(match["cls"], match["file"], member.read(), inverted=True)
