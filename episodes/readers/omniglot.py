"""Omniglot: two zips of 1-bit 105 x 105 PNGs, `ARCHIVE/ALPHABET/characterNN/NNNN_NN.png`."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from episodes import images
from episodes.archive import open_members
from episodes.errors import EpisodesError, UsageError
from episodes.manifest import Manifest, SourceFile
from episodes.readers import Record

IMAGE_PATH = re.compile(r"(?P<cls>images_\w+/[^/]+/character\d+)/(?P<file>\d+_\d+\.png)")


def records(manifest: Manifest, source: Path | None) -> Iterator[Record]:
    """Every drawing under `source`, ink bright on dark, uint8 [105, 105], in the archives' order.

    Raises EpisodesError for a missing or damaged archive and for an image that does not decode.
    """
    for file in manifest.files:
        with open_members(locate(file, source)) as members:
            for name in members.names():
                if match := IMAGE_PATH.fullmatch(name):
                    paper_white = images.decode_grey(members.read(name), name)
                    yield Record(match["cls"], match["file"], np.uint8(255) - paper_white)


def locate(file: SourceFile, source: Path | None) -> Path:
    """The archive `file` or its extracted folder under `source`; raises EpisodesError if absent."""
    if source is None or not source.is_dir():
        raise UsageError(f"{source} is not a folder; expected the folder that holds {file.name}")
    archive, folder = source / file.name, source / Path(file.name).stem
    if archive.is_file():
        return archive
    if folder.is_dir():
        return folder
    raise EpisodesError(
        f"{source} holds neither {file.name} nor the folder {folder.name}: "
        f"fetch {file.urls[0]} ({file.bytes} bytes) into it"
    )
