"""CIFAR-100's two archives, in Python's pickles and in plain bytes, with the same images.

`train` and `test` are rows of a fine label and 3,072 bytes: the red plane, the green, the blue.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import numpy as np

from episodes.archive import Member, members
from episodes.errors import EpisodesError
from episodes.manifest import Manifest, Source
from episodes.pickles import restricted_load
from episodes.readers import Record, locate, pickled

PARTS = ("train", "test")
EDGE = 32
PLANES = 3 * EDGE * EDGE
LABEL_BYTES = 2  # of a row in the binary version: coarse, then fine
ROWS_AT_ONCE = 1000

Batch = tuple[np.ndarray, list[int]]


def records(manifest: Manifest, source: Source, folder: Path, boxes: bool) -> Iterator[Record]:
    """Every image, uint8 [32, 32, 3], in the archive's order, with ids `train-00042`.

    The id is the official part and the place in it, which both archives agree on. Raises
    EpisodesError for a missing or damaged archive, and where its list of fine labels is not the
    manifest's classes in their order.
    """
    path = locate(source.files[0], folder)
    missing = {*PARTS, "the fine label names"}
    for member in members(path):
        where = f"{member.origin}/{member.name}"
        name = PurePosixPath(member.name).name
        part = name.removesuffix(".bin")
        if name in ("meta", "fine_label_names.txt"):
            _check_names(_fine_names(member, where), manifest.class_names, where)
            missing.discard("the fine label names")
        elif part in PARTS:
            missing.discard(part)
            batches = _binary if name.endswith(".bin") else _pickled
            with member.open() as stream:
                yield from _records(batches(stream, where), part, manifest.class_names, where)
    if missing:
        raise EpisodesError(f"{path} lacks {' and '.join(sorted(missing))}: fetch it again")


def _records(
    batches: Iterable[Batch], part: str, class_names: tuple[str, ...], where: str
) -> Iterator[Record]:
    place = 0
    for planes, labels in batches:
        for image, label in zip(planes, labels, strict=True):
            if label not in range(len(class_names)):
                raise EpisodesError(
                    f"{where}: image {place} has the fine label {label}; "
                    f"expected 0 to {len(class_names) - 1}: fetch the archive again"
                )
            pixels = image.reshape(3, EDGE, EDGE).transpose(1, 2, 0)
            yield Record(class_names[label], f"{part}-{place:05d}", np.ascontiguousarray(pixels))
            place += 1


def _pickled(stream: BinaryIO, where: str) -> Iterator[Batch]:
    fields = pickled.fields(restricted_load(stream, where))
    planes, labels = fields.get("data"), pickled.whole_numbers(fields.get("fine_labels"))
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
        f"{where} is another pickle; expected data, uint8 [N, {PLANES}], and fine_labels, "
        "N whole numbers: fetch the archive again"
    )


def _binary(stream: BinaryIO, where: str) -> Iterator[Batch]:
    length = LABEL_BYTES + PLANES
    while content := stream.read(length * ROWS_AT_ONCE):
        if len(content) % length:
            raise EpisodesError(
                f"{where} ends inside a row; expected rows of {length} bytes: "
                "fetch the archive again"
            )
        rows = np.frombuffer(content, np.uint8).reshape(-1, length)
        yield rows[:, LABEL_BYTES:], rows[:, LABEL_BYTES - 1].tolist()


def _fine_names(member: Member, where: str) -> Any:
    if member.name.endswith(".txt"):
        return member.read().decode("utf-8", "replace").split()
    with member.open() as stream:
        return pickled.fields(restricted_load(stream, where)).get("fine_label_names")


def _check_names(found: Any, expected: tuple[str, ...], where: str) -> None:
    if found == list(expected):
        return
    if not isinstance(found, list):
        raise EpisodesError(f"{where} has no list fine_label_names: fetch the archive again")
    raise EpisodesError(
        f"{where} lists {len(found)} names of fine labels that are not the {len(expected)} "
        f"from {expected[0]} to {expected[-1]} in their order: fetch the archive again"
    )
