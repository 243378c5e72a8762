"""Omniglot: two zips of 1-bit 105 x 105 PNGs, `ARCHIVE/ALPHABET/characterNN/NNNN_NN.png`."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from episodes import images
from episodes.archive import members
from episodes.manifest import Manifest, Source
from episodes.readers import Record, locate

IMAGE_PATH = re.compile(r"(?P<cls>images_\w+/[^/]+/character\d+)/(?P<file>\d+_\d+\.png)")


def records(manifest: Manifest, source: Source, folder: Path, boxes: bool) -> Iterator[Record]:
    """Every drawing in `folder`, ink bright on dark, uint8 [105, 105, 1], in the archives' order.

    Raises EpisodesError for a missing or damaged archive and for an image that does not decode.
    """
    for file in source.files:
        for member in members(locate(file, folder)):
            if match := IMAGE_PATH.fullmatch(member.name):
                paper_white = images.decode(member.read(), member.name, channels=1)
                yield Record(match["cls"], match["file"], np.uint8(255) - paper_white)
