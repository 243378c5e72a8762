"""miniImageNet as three pickles: pixels, and which rows of them belong to which class."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from episodes.errors import EpisodesError
from episodes.manifest import PARTS, Manifest, Source
from episodes.pickles import restricted_load
from episodes.readers import Record, pickled

NAMES = re.compile(r"mini-imagenet-cache-(train|val|test)(?:idation)?\.pkl")


def records(manifest: Manifest, source: Source, folder: Path, boxes: bool) -> Iterator[Record]:
    """Every image, uint8 [H, W, 3], in the pickles' order, with ids `train-00042`: part and row.

    Raises EpisodesError for a missing or damaged file, and for a pickle of something else.
    """
    for part, stream, where in pickled.streams(source, folder, NAMES):
        pixels, class_names = _checked(restricted_load(stream, where), where)
        for row, class_name in enumerate(class_names):
            yield Record(class_name, f"{part}-{row:05d}", pixels[row])


def is_there(source: Source, folder: Path) -> bool:
    """Whether the archive is in `folder`, or the three pickles are."""
    return pickled.is_there(source, folder, NAMES, len(PARTS))


def _checked(content: Any, where: str) -> tuple[np.ndarray, list[str]]:
    """The pixels [N, H, W, 3], and the class of each row; raises EpisodesError."""
    fields = pickled.fields(content)
    pixels, rows_of = fields.get("image_data"), fields.get("class_dict")
    if pickled.are_pixels(pixels) and isinstance(rows_of, dict):
        class_of = _class_of_rows(rows_of)
        if sorted(class_of) == list(range(len(pixels))):
            return pixels, [class_of[row] for row in range(len(pixels))]
    raise EpisodesError(
        f"{where} is another pickle; expected image_data, uint8 [N, height, width, 3], and "
        "class_dict, which gives each row to one class: fetch it again"
    )


def _class_of_rows(rows_of: dict[Any, Any]) -> dict[int, str]:
    """The class of each row; empty where it is not what it should be, or a row has two classes."""
    class_of: dict[int, str] = {}
    for class_name, value in rows_of.items():
        rows = pickled.whole_numbers(value)
        if rows is None or not isinstance(class_name, str) or class_of.keys() & set(rows):
            return {}
        if len(set(rows)) < len(rows):
            return {}
        class_of |= dict.fromkeys(rows, class_name)
    return class_of
