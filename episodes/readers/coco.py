"""MSCOCO 2017: a zip of `train2017/NNNNNNNNNNNN.jpg`, and `instances_train2017.json` or its zip.

The objects are Meta-Dataset's: every annotation, crowds too, cut out by its box made larger.
"""

import re
from array import array
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from episodes import images
from episodes.archive import members
from episodes.errors import EpisodesError
from episodes.manifest import Manifest, Source
from episodes.readers import Box, Record, declared_files, locate
from episodes.readers.json_arrays import documents, field, items

IMAGE_PATH = re.compile(r"(?:.+/)?(?P<number>\d{12})\.jpg")
INSTANCES = "instances_train2017.json"
SCALE = 1.2
FARTHEST_EDGE = 1e6


@dataclass(frozen=True)
class Objects:
    """The annotated objects of all photographs, in order of their photographs' numbers.

    photographs, ids: int64 [n].
    class_names: list of n.
    boxes: float64 [n, 4], x, y, width and height, as they are annotated.
    """

    photographs: np.ndarray
    ids: np.ndarray
    class_names: list[str]
    boxes: np.ndarray

    def of(self, photograph: int) -> range:
        """The places of the objects of `photograph`, in the annotations' own order."""
        first, end = np.searchsorted(self.photographs, [photograph, photograph + 1])
        return range(int(first), int(end))


def records(manifest: Manifest, source: Source, folder: Path, boxes: bool) -> Iterator[Record]:
    """Every object, as pixels cut out of its photograph, photographs in the archive's order.

    The id is PHOTOGRAPH_ANNOTATION. Each photograph is decoded once; one that does not decode is
    handed on as it is, once for each object, so that it is told with the others of its kind. Raises
    EpisodesError for missing and damaged files.
    """
    photographs, annotations = (locate(file, folder) for file in declared_files(manifest, source))
    objects = read_objects(annotations)
    for member in members(photographs):
        match = IMAGE_PATH.fullmatch(member.name)
        if match and (places := objects.of(int(match["number"]))):
            encoded = member.read()
            try:
                pixels = images.decode(encoded, member.name, manifest.image.channels)
            except EpisodesError:
                pixels = None
            for place in places:
                name = f"{match['number']}_{objects.ids[place]}"
                class_name = objects.class_names[place]
                if pixels is None:
                    yield Record(class_name, name, encoded)
                elif box := enlarged_box(objects.boxes[place].tolist(), *pixels.shape[1::-1]):
                    left, upper, right, lower = box
                    cut_out = np.ascontiguousarray(pixels[upper:lower, left:right])
                    yield Record(class_name, name, cut_out)


def enlarged_box(box: list[float], width: int, height: int) -> Box | None:
    """(left, upper, right, lower) in pixels of `box`, 1.2 times as wide and high about its centre.

    `box` is x, y, width, height in an image of `width` x `height` pixels, at whose edges the result
    ends; None where nothing of it is inside. The arithmetic is Meta-Dataset's, which takes
    coordinates for those of pixel centres, and rounds halves to even numbers.
    """
    x, y, box_width, box_height = box
    x -= 0.5 * box_width * (SCALE - 1.0)
    y -= 0.5 * box_height * (SCALE - 1.0)
    left, upper = max(round(x - 0.5), 0), max(round(y - 0.5), 0)
    right = min(round(x + box_width * SCALE - 0.5) + 1, width)
    lower = min(round(y + box_height * SCALE - 0.5) + 1, height)
    return (left, upper, right, lower) if left < right and upper < lower else None


def read_objects(path: Path) -> Objects:
    """The objects annotated in `path`: the JSON file itself, or the archive or folder with it.

    About 60 bytes an object are held. Raises EpisodesError for what is missing or damaged.
    """
    with closing(documents(path, (INSTANCES,))) as found:
        where, stream = next(found)
        return _objects(stream, where)


def _objects(stream: BinaryIO, where: str) -> Objects:
    names: dict[int, str] = {}
    columns = array("q"), array("q"), array("q")
    edges = array("d")
    for key, item in items(stream, where):
        if key == "categories":
            names[field(item, "id", int, where)] = field(item, "name", str, where)
        elif key == "annotations":
            for column, name in zip(columns, ("image_id", "id", "category_id"), strict=True):
                column.append(field(item, name, int, where))
            edges.extend(_edges(field(item, "bbox", list, where), where))
    photographs, ids, categories = (np.array(column, np.int64) for column in columns)
    if strangers := set(np.unique(categories).tolist()) - set(names):
        raise EpisodesError(
            f"{where} has objects of category {min(strangers)}, which it does not list: "
            "fetch it again"
        )
    order = np.argsort(photographs, kind="stable")
    return Objects(
        photographs[order],
        ids[order],
        [names[category] for category in categories[order].tolist()],
        np.array(edges).reshape(-1, 4)[order],
    )


def _edges(box: list[float], where: str) -> list[float]:
    numbers = [edge for edge in box if isinstance(edge, int | float) and abs(edge) < FARTHEST_EDGE]
    if len(numbers) != 4 or len(box) != 4:
        raise EpisodesError(f"{where}: {str(box)[:80]} is no box in an image: fetch it again")
    return numbers
