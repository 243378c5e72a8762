"""miniImageNet as JPEGs with Ravi and Larochelle's names, `n0153282900000005.jpg`.

The names tell the classes, so any folder, zip or tar of them will do, however they are arranged.
"""

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path, PurePosixPath

from episodes.archive import Member, members
from episodes.errors import EpisodesError
from episodes.manifest import Manifest, Source
from episodes.readers import Record, find, locate

IMAGE = re.compile(r"(n[0-9]{8})[0-9]{8}\.jpg")
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")
STRAY_FILES = 100  # at most, before the first image of an archive


def records(manifest: Manifest, source: Source, folder: Path, boxes: bool) -> Iterator[Record]:
    """Every image, encoded, with its file name as id, in the order in which the files are found.

    Raises EpisodesError where there is none, and for a damaged archive.
    """
    origin = next(_origins(source, folder), None) or locate(source.files[0], folder)
    for member in members(origin):
        if match := IMAGE.fullmatch(_file_name(member)):
            yield Record(match[1], match[0], member.read())


def is_there(source: Source, folder: Path) -> bool:
    """Whether `folder`, or an archive in it, holds an image with such a name."""
    return next(_origins(source, folder), None) is not None


def _origins(source: Source, folder: Path) -> Iterator[Path]:
    """What holds such images: the source's own archive, the folder with all below it, archives."""
    usual = find(source.files[0], folder)
    if usual is not None and usual.is_file():
        yield usual
    archives = (path for path in folder.iterdir() if path.name.endswith(ARCHIVES))
    for path in (folder, *sorted(archives)):
        if _holds_images(path):
            yield path


def _holds_images(path: Path) -> bool:
    found = members(path) if path.is_dir() else islice(members(path), STRAY_FILES)
    try:
        return any(IMAGE.fullmatch(_file_name(member)) for member in found)
    except EpisodesError:  # damage in another dataset's file is not this reader's business
        return False


def _file_name(member: Member) -> str:
    return PurePosixPath(member.name).name
