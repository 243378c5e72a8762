"""CIFAR-100's two archives: `train` and `test`, and the names of the fine labels."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from episodes.manifest import Manifest, Source
from episodes.readers import Record, cifar, locate

LAYOUT = cifar.Layout(
    batches={"train": "train", "test": "test"},
    names_files=("meta", "fine_label_names.txt"),
    names_key="fine_label_names",
    label="fine label",
    labels_key="fine_labels",
    label_bytes=2,  # coarse, then fine
)


def records(manifest: Manifest, source: Source, folder: Path, boxes: bool) -> Iterator[Record]:
    """The images of the source's `parts` (default: both), as `episodes.readers.cifar` reads them.

    The manifest's classes are the fine labels in their order.
    """
    parts = source.parameters.get("parts", LAYOUT.batches)
    layout = replace(LAYOUT, batches={part: part for part in parts})
    return cifar.read(layout, manifest.class_names, locate(source.files[0], folder))
