"""Which classes and images two datasets, or two splits of one, share: leakage as a fact."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import permutations
from typing import TYPE_CHECKING, Any

import numpy as np

from episodes import manifest
from episodes.manifest import PARTS, Identity, Manifest, Twins

if TYPE_CHECKING:
    from episodes.store import Store

TURNED = re.compile("/rot(000|090|180|270)$")
Key = tuple[str, str]


@dataclass(frozen=True)
class Classes:
    """Some classes of one dataset, by what makes them the same as classes elsewhere.

    `names` are as in the manifest: a class that was turned is the class that it was. `twins` are
    images of the dataset that are in another one too.
    """

    dataset: str
    names: tuple[str, ...]
    identity: Identity | None = None
    twins: Twins | None = None

    @cached_property
    def by_key(self) -> Mapping[Key, str]:
        """The classes by all that identifies each."""
        return {
            key: name for name in self.names for key in _keys(self.dataset, name, self.identity)
        }

    def same_as(self, dataset: str, name: str, identity: Identity | None) -> str | None:
        """The one of these classes that is the class `name` of `dataset`, if there is one."""
        found = (self.by_key.get(key) for key in _keys(dataset, name, identity))
        return next((name for name in found if name is not None), None)


@dataclass(frozen=True)
class Overlap:
    """What some classes share with others, as pairs of names (here, there).

    Of `images` (CLASS/ID), which have a twin in a class there, the twin itself may have been left
    out there: where a dataset has not all images of its classes.
    """

    classes: tuple[tuple[str, str], ...] = ()
    images: tuple[tuple[str, str], ...] = ()


def of_manifest(facts: Manifest, split: str) -> Classes:
    """The classes of `split` (SCHEME.PART) of a dataset."""
    scheme, _, part = split.rpartition(".")
    ids = facts.schemes[scheme].classes[part]
    names = tuple(facts.class_names[index] for index in ids)
    return Classes(facts.name, names, facts.identity, facts.twins)


def of_store(store: "Store", split: str) -> Classes:
    """The classes of `split` ([SCHEME.]PART) of a store, with the twins that are in the store."""
    return _of_store(store, split, _twins_in(store))


def between(here: Classes, there: Classes) -> Overlap:
    """What the classes `here` share with those `there`.

    Classes are the same where dataset and name are, or else the key of a namespace of both.
    """
    classes = tuple(
        (name, same)
        for name in here.names
        if (same := there.same_as(here.dataset, name, here.identity)) is not None
    )
    ours = _twins_between(here, there)
    theirs = ((image, twin) for twin, image in _twins_between(there, here))
    return Overlap(classes, tuple(dict.fromkeys((*ours, *theirs))))


def overlap_report(store: "Store") -> list[dict[str, Any]]:
    """What the classes of a store share with the classes that others train on.

    For each of its schemes, the test classes that another of its schemes trains on; and for each
    shipped dataset with common classes or images, what the parts of the default schemes share. Only
    where something is shared: {split, classes, dataset, other_split, shared_classes,
    shared_images}.
    """
    report = []
    twins = _twins_in(store)

    def ours(split: str) -> Classes:
        return _of_store(store, split, twins)

    for scheme, other in permutations(store.info.splits, 2):
        split, trained = f"{scheme}.test", f"{other}.train"
        report += _entry(split, ours(split), trained, ours(trained))
    default = {part: ours(f"{store.default_scheme}.{part}") for part in PARTS}
    for name in manifest.names():
        if name == store.info.dataset:
            continue
        facts = manifest.load(name)
        for part in PARTS:
            other = f"{facts.default_scheme}.{part}"
            theirs = of_manifest(facts, other)
            for mine, here in default.items():
                report += _entry(f"{store.default_scheme}.{mine}", here, other, theirs)
    return report


def overlap_lines(report: list[dict[str, Any]], dataset: str) -> list[str]:
    """The `overlap_report` of a store of `dataset`: a line a test split, a line a dataset."""
    lines = []
    own = [entry for entry in report if entry["dataset"] == dataset]
    for split in dict.fromkeys(entry["split"] for entry in own):
        entries = [entry for entry in own if entry["split"] == split]
        entries.sort(key=lambda entry: -entry["shared_classes"])
        counts = ", ".join(
            f"{entry['shared_classes']} in {entry['other_split']}" for entry in entries
        )
        lines.append(f"of the {entries[0]['classes']} classes of {split}: {counts}")
    others = [entry for entry in report if entry["dataset"] != dataset]
    for name in dict.fromkeys(entry["dataset"] for entry in others):
        entries = [entry for entry in others if entry["dataset"] == name]
        scheme = entries[0]["other_split"].rpartition(".")[0]
        for kind in ("classes", "images"):
            if counts := ", ".join(_by_part(entries, f"shared_{kind}")):
                lines.append(
                    f"{kind} shared with {name} {scheme} (its {'/'.join(PARTS)}): {counts}"
                )
    return lines


def _keys(dataset: str, name: str, identity: Identity | None) -> Iterator[Key]:
    yield f"dataset {dataset}", name
    if identity is not None and (found := re.search(identity.pattern, name)):
        yield f"namespace {identity.namespace}", found[1]


def _of_store(store: "Store", split: str, twins: Twins | None) -> Classes:
    info = store.info
    names = [_unturned(store, store.class_names[index]) for index in store.split_classes(split)]
    identity = Identity(**info.identity) if info.identity else None
    return Classes(info.dataset, tuple(dict.fromkeys(names)), identity, twins)


def _unturned(store: "Store", name: str) -> str:
    return TURNED.sub("", name) if store.info.preprocessing.get("rotations") else name


def _twins_in(store: "Store") -> Twins | None:
    """The twins that the manifest of the store's dataset lists, and the store has."""
    dataset = store.info.dataset
    listed = manifest.load(dataset).twins if dataset in manifest.names() else None
    if listed is None:
        return None
    names = {_class_of(image) for image in listed.images}
    there: set[str] = set()
    for name, start, size in zip(
        store.class_names, store.class_starts, store.class_sizes, strict=True
    ):
        if (base := _unturned(store, name)) in names:
            there.update(f"{base}/{image_id}" for image_id in store.ids(start + np.arange(size)))
    images = {image: twin for image, twin in listed.images.items() if image in there}
    return Twins(listed.dataset, images)


def _twins_between(here: Classes, there: Classes) -> Iterator[tuple[str, str]]:
    """The images listed as twins, of the classes `here`, whose twin is of a class `there`."""
    if here.twins is None:
        return
    dataset, names = here.twins.dataset, frozenset(here.names)
    for image, twin in here.twins.images.items():
        if _class_of(image) in names and there.same_as(
            dataset, _class_of(twin), _shipped_identity(dataset)
        ):
            yield image, twin


@cache
def _shipped_identity(dataset: str) -> Identity | None:
    return manifest.load(dataset).identity if dataset in manifest.names() else None


def _class_of(image: str) -> str:
    return image.rpartition("/")[0]


def _entry(split: str, here: Classes, other: str, there: Classes) -> list[dict[str, Any]]:
    """The entry of a report, or none where nothing is shared."""
    shared = between(here, there)
    if not shared.classes and not shared.images:
        return []
    return [
        {
            "split": split,
            "classes": len(here.names),
            "dataset": there.dataset,
            "other_split": other,
            "shared_classes": len(shared.classes),
            "shared_images": len(shared.images),
        }
    ]


def _by_part(entries: list[dict[str, Any]], kind: str) -> Iterator[str]:
    """For each part of ours that shares something, the counts in theirs: "train 17/6/13"."""
    counts = {
        tuple(entry[key].rpartition(".")[2] for key in ("split", "other_split")): entry[kind]
        for entry in entries
    }
    for part in PARTS:
        row = [counts.get((part, other), 0) for other in PARTS]
        if any(row):
            yield f"{part} {'/'.join(map(str, row))}"
