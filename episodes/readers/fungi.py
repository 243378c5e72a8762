"""FGVCx Fungi: a tgz of `images/...`, and COCO-like JSON of its two labelled parts, packed or not.

`train.json` and `val.json` have `images` (`id`, `file_name` from `images/` on) and `annotations`
(`image_id`, `category_id`).
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from episodes.archive import members
from episodes.errors import EpisodesError
from episodes.manifest import Manifest, Source
from episodes.readers import Record, declared_files, locate
from episodes.readers.json_arrays import documents, field, items
from episodes.readers.numbered import by_number, named

IMAGE_PATH = re.compile(r"(?:.*?/)?(?P<name>images/(?P<file>.+))")
PARTS = ("train.json", "val.json")


def records(manifest: Manifest, source: Source, folder: Path, boxes: bool) -> Iterator[Record]:
    """Every labelled photograph in `folder`, as its file, in the archive's order.

    The id is the file's path below `images/`. Raises EpisodesError for missing and damaged files.
    """
    photographs, *annotations = (locate(file, folder) for file in declared_files(manifest, source))
    labels = _labels(annotations, by_number(manifest.class_names))
    for member in members(photographs):
        match = IMAGE_PATH.fullmatch(member.name)
        if match and (class_name := labels.get(match["name"])):
            yield Record(class_name, match["file"], member.read())


def _labels(paths: list[Path], classes: Mapping[int, str]) -> dict[str, str]:
    """The class of every file name in the parts of `paths`: both in an archive, or one a file."""
    labels: dict[str, str] = {}
    for path in paths:
        for where, stream in documents(path, PARTS):
            for name, category in _categories(stream, where):
                class_name = named(classes, category, f"{where}, {name}")
                if labels.setdefault(name, class_name) != class_name:
                    raise EpisodesError(
                        f"{where}: {name} is both of {labels[name]!r} and {class_name!r}: "
                        "fetch it again"
                    )
    return labels


def _categories(stream: BinaryIO, where: str) -> Iterator[tuple[str, int]]:
    """Each annotated file name of one part with its category."""
    names: dict[int, str] = {}
    categories: list[tuple[int, int]] = []
    for key, item in items(stream, where):
        if key == "images":
            names[field(item, "id", int, where)] = field(item, "file_name", str, where)
        elif key == "annotations":
            image_id = field(item, "image_id", int, where)
            categories.append((image_id, field(item, "category_id", int, where)))
    for image_id, category in categories:
        if image_id not in names:
            raise EpisodesError(
                f"{where} annotates an image {image_id} that it does not list: fetch it again"
            )
        yield names[image_id], category
