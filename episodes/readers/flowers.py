"""VGG Flower: one tgz, `jpg/image_NNNNN.jpg`, and the class of each image in `imagelabels.mat`."""

import re
from collections.abc import Iterator
from pathlib import Path

from episodes.archive import members
from episodes.errors import EpisodesError
from episodes.manifest import Manifest, Source
from episodes.readers import Record, declared_files, locate
from episodes.readers.matlab import matrix
from episodes.readers.numbered import by_number, named

IMAGE_PATH = re.compile(r"(?:.+/)?jpg/(?P<file>image_(?P<number>\d{5})\.jpg)")


def records(manifest: Manifest, source: Source, folder: Path, boxes: bool) -> Iterator[Record]:
    """Every photograph in `folder`, as its JPEG, in the archive's order; the id is the file's name.

    Raises EpisodesError for missing and damaged files, and for a photograph without a label.
    """
    photographs, of_labels = (locate(file, folder) for file in declared_files(manifest, source))
    labels = matrix(of_labels.read_bytes(), "labels", str(of_labels)).ravel()
    classes = by_number(manifest.class_names)
    for member in members(photographs):
        if match := IMAGE_PATH.fullmatch(member.name):
            file, number = match["file"], int(match["number"])
            if not 1 <= number <= len(labels):
                raise EpisodesError(
                    f"{of_labels} has {len(labels)} labels, none for {file}: "
                    f"fetch it and {photographs.name} again"
                )
            class_name = named(classes, int(labels[number - 1]), f"{of_labels}, {file}")
            yield Record(class_name, file, member.read())
