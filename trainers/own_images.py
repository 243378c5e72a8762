"""A task of the user's own: labelled images in class folders, and images to be classified."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from episodes import images
from episodes.errors import EpisodesError, UsageError, some_of
from episodes.own.collection import Collection, mark_of, read_file, unknown_class
from episodes.own.folder import images_in_folder, loose_images
from episodes.prepare.building import natural_order

Prepare = Callable[[np.ndarray], np.ndarray]
"""Brings a uint8 image `[H, W, C]` to the size and the channels of a model."""


@dataclass(frozen=True)
class OwnImages:
    """Images in natural order: their files, relative to a folder, pixels uint8 `[n, H, W, C]`,
    labels int64 `[n]` (None: not known), and the marks of their files' content."""

    files: tuple[str, ...]
    pixels: np.ndarray
    labels: np.ndarray | None
    marks: tuple[str, ...]


@dataclass(frozen=True)
class OwnTask:
    """Support and query images, the classes that labels number, notes on what was found, and
    whether pictures lost their colours."""

    classes: tuple[str, ...]
    support: OwnImages
    query: OwnImages
    notes: tuple[str, ...]
    lost_colours: bool = False


def read_task(support: Path, query: Path, channels: int, prepare: Prepare) -> OwnTask:
    """The task in a folder of class folders, and in another of class folders or of loose images.

    Hidden files, what has no image's suffix, and empty class folders are passed over and noted.
    Raises UsageError for fewer than two classes, and query classes that the support lacks;
    EpisodesError for what cannot be read, naming every image that does not decode.
    """
    labelled = images_in_folder(support)
    if labelled.parts is not None:
        raise UsageError(
            f"{support} holds splits of a dataset: give one of them, such as "
            f"--support {support}/{next(iter(labelled.parts.values()))}"
        )
    classes = tuple(sorted(labelled.class_names, key=natural_order))
    if len(classes) < 2:
        raise UsageError(
            f"{support} has images of one class alone ({classes[0]}): expected two class folders "
            "or more"
        )
    loose = loose_images(query)
    if loose is None:
        asked = images_in_folder(query)
        if unknown := asked.class_names - labelled.class_names:
            raise unknown_class(min(unknown), labelled.class_names, f"--query {query}")
        files, query_labels, notes = _in_order(asked, classes)
    else:
        files, query_labels, notes = loose[0], None, loose[1]
    support_files, support_labels, support_notes = _in_order(labelled, classes)
    shown = _read(support, support_files, support_labels, channels, prepare)
    to_classify = _read(query, files, query_labels, channels, prepare)
    found = [f"--support: {note}" for note in support_notes]
    found += [f"--query: {note}" for note in notes]
    if known := sum(mark in shown.marks for mark in to_classify.marks):
        found.append(f"{known} of the query images are in the support set too: they test nothing")
    lost_colours = channels == 1 and any(map(_has_colours, (*support_files, *files)))
    return OwnTask(classes, shown, to_classify, tuple(found), lost_colours)


def _in_order(
    collection: Collection, classes: Sequence[str]
) -> tuple[list[Path], np.ndarray, list[str]]:
    """Files by class, in the order of the classes and then of their names, labels and notes."""
    items = sorted(collection.items, key=lambda item: classes.index(item.class_name))
    labels = np.array([classes.index(item.class_name) for item in items])
    return [Path(item.place) for item in items], labels, list(collection.notes)


def _has_colours(file: Path) -> bool:
    pixels = images.decode(read_file(str(file)), str(file), channels=3)
    return bool((pixels != pixels[..., :1]).any())


def _read(
    folder: Path,
    files: Sequence[Path],
    labels: np.ndarray | None,
    channels: int,
    prepare: Prepare,
) -> OwnImages:
    pixels, refused = [], []
    for file in files:
        try:
            pixels.append(prepare(images.decode(read_file(str(file)), str(file), channels)))
        except EpisodesError as error:
            refused.append(str(error))
    if refused:
        raise EpisodesError(f"{some_of(refused, between='; ')}: mend or remove the file(s)")
    names = tuple(file.relative_to(folder).as_posix() for file in files)
    return OwnImages(names, np.stack(pixels), labels, tuple(map(mark_of, files)))
