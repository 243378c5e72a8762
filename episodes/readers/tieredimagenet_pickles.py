"""tieredImageNet as pickles: for each split a list of PNGs and their labels; two lists of names.

A label is a place in its split's own list of class names, which came from a directory listing.
Names lead to WordNet ids by the lines of class_names.txt and synsets.txt, which list all of
ILSVRC's 1,000 classes, two of them called crane and two maillot: the split tells which is meant.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from episodes.errors import EpisodesError
from episodes.manifest import PARTS, Manifest, Source
from episodes.pickles import byte_strings, restricted_load
from episodes.readers import Record, pickled

LISTS = ("class_names.txt", "synsets.txt")
LABELS = tuple(f"{part}_labels.pkl" for part in PARTS)
IMAGES = tuple(f"{part}_images_png.pkl" for part in PARTS)


class _Labels(NamedTuple):
    """Of each image the place of its class in `titles`, and the file where they stand."""

    numbers: list[int]
    titles: list[str]
    where: str


def _pattern(names: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(rf"(?:tiered-imagenet-)?({'|'.join(map(re.escape, names))})")


ALL_NAMES = _pattern(LISTS + LABELS + IMAGES)
IMAGE_NAMES = _pattern(IMAGES)
OTHER_NAMES = _pattern(LISTS + LABELS)


def records(manifest: Manifest, source: Source, folder: Path, boxes: bool) -> Iterator[Record]:
    """Every image as PNG bytes, in the pickles' order, with ids `train-000042`: part and row.

    Raises EpisodesError for a missing or damaged file, and where a name tells no class.
    """
    class_names = _class_names(manifest, source, folder)
    for name, stream, where in pickled.streams(source, folder, IMAGE_NAMES):
        part = name.partition("_")[0]
        count = -1
        for count, image in enumerate(byte_strings(stream, where)):
            if count < len(class_names[part]):
                yield Record(class_names[part][count], f"{part}-{count:06d}", image)
        if count + 1 != len(class_names[part]):
            raise EpisodesError(
                f"{where} has {count + 1} images; expected one for each of the "
                f"{len(class_names[part])} labels of {part}_labels.pkl: fetch both again"
            )


def is_there(source: Source, folder: Path) -> bool:
    """Whether the archive is in `folder`, or its eight files are."""
    names = LISTS + LABELS + IMAGES
    return pickled.is_there(source, folder, ALL_NAMES, len(names))


def _class_names(manifest: Manifest, source: Source, folder: Path) -> dict[str, list[str]]:
    """For each part, the class of every image."""
    found: dict[str, Any] = {}
    for name, stream, where in pickled.streams(source, folder, OTHER_NAMES):
        if name in LISTS:
            found[name] = stream.read().decode("latin-1").splitlines()
        else:
            found[name] = _checked(restricted_load(stream, where), where)
    for name in LISTS + LABELS:
        if name not in found:
            raise EpisodesError(f"{folder}: {source.name} lacks {name}: fetch it again")
    wnids_of = _wnids_by_title(*(found[name] for name in LISTS))
    return {
        part: _named(manifest, part, found[name], wnids_of)
        for part, name in zip(PARTS, LABELS, strict=True)
    }


def _wnids_by_title(titles: list[str], wnids: list[str]) -> dict[str, set[str]]:
    if len(titles) != len(wnids):
        raise EpisodesError(
            f"class_names.txt has {len(titles)} lines and synsets.txt {len(wnids)}; "
            "expected a line a class in both: fetch both again"
        )
    wnids_of: dict[str, set[str]] = {}
    for title, wnid in zip(titles, wnids, strict=True):
        wnids_of.setdefault(title.strip(), set()).add(wnid.strip())
    return wnids_of


def _checked(content: Any, where: str) -> _Labels:
    """The labels in a pickle; raises EpisodesError where it holds something else."""
    fields = pickled.fields(content)
    labels = pickled.whole_numbers(fields.get("label_specific"))
    titles = fields.get("label_specific_str")
    if (
        labels is not None
        and isinstance(titles, list)
        and all(isinstance(title, str) for title in titles)
        and set(labels) <= set(range(len(titles)))
    ):
        return _Labels(labels, titles, where)
    raise EpisodesError(
        f"{where} is another pickle; expected label_specific, N whole numbers, and "
        "label_specific_str, the names that they number: fetch it again"
    )


def _named(
    manifest: Manifest, part: str, labels: _Labels, wnids_of: Mapping[str, set[str]]
) -> list[str]:
    """The class of each label, of which there must be no doubt."""
    scheme = manifest.schemes[manifest.default_scheme]
    ours = {manifest.class_names[index] for index in scheme.classes[part]}
    classes: list[str] = []
    for title in labels.titles:
        meant = (wnids_of.get(title.strip(), set()) & ours) - set(classes)
        if len(meant) != 1:
            raise EpisodesError(
                f"{labels.where}: {title!r} names {len(meant)} classes of {scheme.name}.{part}, by "
                "class_names.txt and synsets.txt; expected one: fetch all three again"
            )
        classes += meant
    return [classes[number] for number in labels.numbers]
