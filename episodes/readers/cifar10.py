"""CIFAR-10's two archives: of their batches, the official test images."""

from collections.abc import Iterator
from pathlib import Path

from episodes.manifest import Manifest, Source
from episodes.readers import Record, cifar, locate

LAYOUT = cifar.Layout(
    batches={"test_batch": "test"},
    names_files=("batches.meta", "batches.meta.txt"),
    names_key="label_names",
    label="label",
    labels_key="labels",
    label_bytes=1,
)


def records(manifest: Manifest, source: Source, folder: Path, boxes: bool) -> Iterator[Record]:
    """The test images, as `episodes.readers.cifar` reads them.

    The manifest's classes are the labels in their order.
    """
    return cifar.read(LAYOUT, manifest.class_names, locate(source.files[0], folder))
