"""CIFAR's archives, in Python's pickles and in plain bytes, with the same images.

A batch is rows of labels and 3,072 bytes: the red plane, the green, the blue.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import numpy as np

from episodes.archive import Member, members
from episodes.errors import EpisodesError
from episodes.pickles import restricted_load
from episodes.readers import Record, pickled

EDGE = 32
PLANES = 3 * EDGE * EDGE
ROWS_AT_ONCE = 1000

Batch = tuple[np.ndarray, list[int]]


@dataclass(frozen=True)
class Layout:
    """What CIFAR-10 and CIFAR-100 differ in.

    `batches` are the files to read, each with its official part, which goes into the ids;
    `names_files` hold the names of the classes, the pickle under `names_key` and the text; `label`
    is what a class's number is called, and `labels_key` what it stands under; in a binary row, it
    is the last of `label_bytes`.
    """

    batches: Mapping[str, str]
    names_files: tuple[str, str]
    names_key: str
    label: str
    labels_key: str
    label_bytes: int


def read(layout: Layout, class_names: tuple[str, ...], path: Path) -> Iterator[Record]:
    """The images of the archive or folder `path`, uint8 [32, 32, 3], with ids `test-00042`.

    The id is the official part and the place in it, which both archives agree on. Raises
    EpisodesError for a missing or damaged archive, and where its list of labels is not
    `class_names` in their order.
    """
    missing = {*layout.batches, f"the {layout.label} names"}
    for member in members(path):
        where = f"{member.origin}/{member.name}"
        name = PurePosixPath(member.name).name
        batch = name.removesuffix(".bin")
        if name in layout.names_files:
            _check_names(_names(layout, member, where), class_names, layout, where)
            missing.discard(f"the {layout.label} names")
        elif batch in layout.batches:
            missing.discard(batch)
            rows = _binary if name.endswith(".bin") else _pickled
            with member.open() as stream:
                part = layout.batches[batch]
                yield from _records(rows(layout, stream, where), part, class_names, layout, where)
    if missing:
        raise EpisodesError(f"{path} lacks {' and '.join(sorted(missing))}: fetch it again")


def _records(
    batches: Iterable[Batch], part: str, class_names: tuple[str, ...], layout: Layout, where: str
) -> Iterator[Record]:
    place = 0
    for planes, labels in batches:
        for image, label in zip(planes, labels, strict=True):
            if label not in range(len(class_names)):
                raise EpisodesError(
                    f"{where}: image {place} has the {layout.label} {label}; "
                    f"expected 0 to {len(class_names) - 1}: fetch the archive again"
                )
            pixels = image.reshape(3, EDGE, EDGE).transpose(1, 2, 0)
            yield Record(class_names[label], f"{part}-{place:05d}", np.ascontiguousarray(pixels))
            place += 1


def _pickled(layout: Layout, stream: BinaryIO, where: str) -> Iterator[Batch]:
    fields = pickled.fields(restricted_load(stream, where))
    planes, labels = fields.get("data"), pickled.whole_numbers(fields.get(layout.labels_key))
    if (
        isinstance(planes, np.ndarray)
        and planes.dtype == np.uint8
        and planes.shape[1:] == (PLANES,)
        and labels is not None
        and len(labels) == len(planes)
    ):
        yield planes, labels
        return
    raise EpisodesError(
        f"{where} is another pickle; expected data, uint8 [N, {PLANES}], and {layout.labels_key}, "
        "N whole numbers: fetch the archive again"
    )


def _binary(layout: Layout, stream: BinaryIO, where: str) -> Iterator[Batch]:
    length = layout.label_bytes + PLANES
    while content := stream.read(length * ROWS_AT_ONCE):
        if len(content) % length:
            raise EpisodesError(
                f"{where} ends inside a row; expected rows of {length} bytes: "
                "fetch the archive again"
            )
        rows = np.frombuffer(content, np.uint8).reshape(-1, length)
        yield rows[:, layout.label_bytes :], rows[:, layout.label_bytes - 1].tolist()


def _names(layout: Layout, member: Member, where: str) -> Any:
    if member.name.endswith(".txt"):
        return member.read().decode("utf-8", "replace").split()
    with member.open() as stream:
        return pickled.fields(restricted_load(stream, where)).get(layout.names_key)


def _check_names(found: Any, expected: tuple[str, ...], layout: Layout, where: str) -> None:
    if found == list(expected):
        return
    if not isinstance(found, list):
        raise EpisodesError(f"{where} has no list {layout.names_key}: fetch the archive again")
    raise EpisodesError(
        f"{where} lists {len(found)} names of {layout.label}s that are not the {len(expected)} "
        f"from {expected[0]} to {expected[-1]} in their order: fetch the archive again"
    )
