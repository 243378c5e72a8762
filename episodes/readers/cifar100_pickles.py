"""CIFAR-100's images re-packed as a pickle a split: pixels and numbers of classes, without names.

The numbers are taken for CIFAR-100's fine labels only where those of each file are exactly the fine
labels of the split's classes, which no other numbering would give.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from episodes.errors import EpisodesError
from episodes.manifest import PARTS, Manifest, Source
from episodes.pickles import restricted_load
from episodes.readers import Record, pickled


def records(manifest: Manifest, source: Source, folder: Path, boxes: bool) -> Iterator[Record]:
    """Every image, uint8 [H, W, 3], in the pickles' order, with ids `train-00042`: part and row.

    The manifest's classes are in the order of the fine labels. Raises EpisodesError for a missing
    or damaged file, and for a pickle of something else.
    """
    scheme = manifest.schemes[source.parameters["scheme"]]
    for part, stream, where in pickled.streams(source, folder, _names(source)):
        pixels, labels = _checked(restricted_load(stream, where), where)
        if set(labels) != set(scheme.classes[part]):
            raise EpisodesError(
                f"{where}: its labels are not the fine labels of the {len(scheme.classes[part])} "
                f"classes of {scheme.name}.{part}, so nothing tells which class is which: "
                f"use another source of {manifest.name}"
            )
        for row, label in enumerate(labels):
            yield Record(manifest.class_names[label], f"{part}-{row:05d}", pixels[row])


def is_there(source: Source, folder: Path) -> bool:
    """Whether the archive is in `folder`, or the three pickles are."""
    return pickled.is_there(source, folder, _names(source), len(PARTS))


def _names(source: Source) -> re.Pattern[str]:
    return re.compile(rf"{re.escape(source.parameters['stem'])}_(train|val|test)\.pickle")


def _checked(content: Any, where: str) -> tuple[np.ndarray, list[int]]:
    """The pixels [N, H, W, 3] and the label of each row; raises EpisodesError."""
    fields = pickled.fields(content)
    pixels, labels = fields.get("data"), pickled.whole_numbers(fields.get("labels"))
    if pickled.are_pixels(pixels) and labels is not None and len(labels) == len(pixels):
        return pixels, labels
    raise EpisodesError(
        f"{where} is another pickle; expected data, uint8 [N, height, width, 3], and labels, "
        "N whole numbers: fetch it again"
    )
