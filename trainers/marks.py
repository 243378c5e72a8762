"""What a reader of figures must know of the stores behind them: marks, and classes trained on."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import episodes
from episodes import Store, manifest, overlaps
from episodes.alike import alike
from episodes.errors import EpisodesError
from episodes.manifest import PARTS
from trainers.config import RunConfig, Settings
from trainers.report import Figures

SEPARATOR = "; "


@dataclass(frozen=True)
class Trained:
    """What a run was trained on: the split, its classes, those of each dataset (None: not known),
    and the stores' marks."""

    where: str
    classes: tuple[overlaps.Classes, ...] | None
    marks: tuple[str, ...]


def recorded_facts(*stores: Store) -> Settings:
    """What config.toml says of the stores so that `trained_on` can tell later."""
    found = marks_of(stores)
    marks: Settings = {"marks": SEPARATOR.join(found)} if found else {}
    return {"dataset_name": "+".join(store.info.dataset for store in stores)} | marks


def split_facts(stores: Sequence[Store], scheme: str) -> Settings:
    """What config.toml says of a split scheme, whose classes no content digest covers."""
    if not stores:
        return {}
    return {"scheme": scheme, "classes_digest": _classes_digest(stores, scheme)}


def has_recorded_classes(stores: Sequence[Store], recorded: Mapping[str, Any]) -> bool:
    """Whether the scheme of `split_facts` has the classes that it had, if they were recorded."""
    scheme = recorded.get("scheme")
    if scheme is None:
        return True
    is_there = all(scheme in store.info.splits for store in stores)
    return is_there and _classes_digest(stores, scheme) == recorded.get("classes_digest")


def marks_of(stores: Sequence[Store]) -> tuple[str, ...]:
    """The marks of the stores, each once."""
    return tuple(dict.fromkeys(mark for store in stores for mark in store.info.marks))


def trained_on(config: RunConfig, recorded: Mapping[str, Any], tested: Sequence[Store]) -> Trained:
    """What the run of `config` was trained on, whose config.toml has the table `recorded`.

    The classes are those of the store, where it is there as it was, or of the shipped manifest.
    """
    split = f"{config.split}.train"
    dataset = str(recorded.get("dataset_name", recorded["name"]))
    where = f"{recorded['name']} {split}"
    marks = tuple(filter(None, str(recorded.get("marks", "")).split(SEPARATOR)))
    for stores in ([*map(_store_at, config.dataset.split(","))], tested):
        there = [store for store in stores if store is not None]
        if config.sampler == "meta-dataset" and there:
            there = [*alike(there, int(recorded["channels"]))]
        digest = combined_digest([store.digest for store in there])
        is_same = len(there) == len(stores) and digest == recorded["digest"]
        if is_same and has_recorded_classes(there, recorded):
            classes = tuple(overlaps.of_store(store, split) for store in there)
            return Trained(where, classes, marks or marks_of(there))
    names = dataset.split("+")
    if set(names) <= set(manifest.names()):
        facts = list(map(manifest.load, names))
        if all(config.split in each.schemes for each in facts):
            known = tuple(overlaps.of_manifest(each, split) for each in facts)
            return Trained(where, known, marks)
    return Trained(where, None, marks)


def combined_digest(digests: Sequence[str]) -> str:
    """The digest of several stores together; of one, its own."""
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def figures(training: Sequence[str], test: Sequence[str]) -> Figures:
    """The marks of the stores that a run was trained and tested on."""
    return {"training": list(training), "test": list(test)}


def overlap(trained: Trained, tested: Sequence[Store], split: str) -> Figures | None:
    """How many classes of `split` were trained on, and images outside of them; None: not known."""
    return shared(trained, [overlaps.of_store(store, split) for store in tested])


def shared(trained: Trained, classes: Sequence[overlaps.Classes]) -> Figures | None:
    """As `overlap`, of these classes."""
    if trained.classes is None:
        return None
    found = [overlaps.between(here, there) for here in classes for there in trained.classes]
    return {
        "trained_on": trained.where,
        "classes": len({here for each in found for here, _ in each.classes}),
        "of_classes": sum(len(each.names) for each in classes),
        "images": len({here for each in found for here, _ in each.images}),
    }


def warnings(trained: Trained, shared: Figures | None, where: str) -> list[str]:
    """What `overlap` found, where that puts the figures for `where` in doubt."""
    if shared is None:
        return [
            f"whether the run was trained on classes of {where} is not known: "
            f"the store of {trained.where} is not there as it was"
        ]
    found = []
    if shared["classes"]:
        found.append(
            f"the run was trained, on {trained.where}, on {shared['classes']} of the "
            f"{shared['of_classes']} classes of {where}: this is no accuracy on new classes"
        )
    if shared["images"]:
        found.append(
            f"{shared['images']} images of {where} are also in classes of {trained.where}, "
            "which the run was trained on"
        )
    return found


def _classes_digest(stores: Sequence[Store], scheme: str) -> str:
    names = [
        [[store.class_names[index] for index in store.info.splits[scheme][part]] for part in PARTS]
        for store in stores
    ]
    return hashlib.sha256(json.dumps(names).encode()).hexdigest()


def _store_at(dataset: str) -> Store | None:
    try:
        return episodes.open(dataset)
    except EpisodesError:
        return None
