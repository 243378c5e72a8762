"""What a reader of figures must know of the stores behind them: marks, and classes trained on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import episodes
from episodes import Store, manifest, overlaps
from episodes.errors import EpisodesError
from trainers.config import RunConfig, Settings
from trainers.report import Figures

SEPARATOR = "; "


@dataclass(frozen=True)
class Trained:
    """What a run was trained on: the split, its classes (None: not known), the store's marks."""

    where: str
    classes: overlaps.Classes | None
    marks: tuple[str, ...]


def recorded_facts(store: Store) -> Settings:
    """What config.toml says of a store so that `trained_on` can tell later."""
    marks: Settings = {"marks": SEPARATOR.join(store.info.marks)} if store.info.marks else {}
    return {"dataset_name": store.info.dataset} | marks


def trained_on(config: RunConfig, recorded: Mapping[str, Any], tested: Store) -> Trained:
    """What the run of `config` was trained on, whose config.toml has the table `recorded`.

    The classes are those of the store, where it is there as it was, or of the shipped manifest.
    """
    split = f"{config.split}.train"
    dataset = str(recorded.get("dataset_name", recorded["name"]))
    where = f"{recorded['name']} {split}"
    marks = tuple(filter(None, str(recorded.get("marks", "")).split(SEPARATOR)))
    for store in (_store_at(config.dataset), tested):
        if store is not None and store.digest == recorded["digest"]:
            return Trained(where, overlaps.of_store(store, split), marks or store.info.marks)
    if dataset in manifest.names():
        facts = manifest.load(dataset)
        if config.split in facts.schemes:
            return Trained(where, overlaps.of_manifest(facts, split), marks)
    return Trained(where, None, marks)


def figures(training: Sequence[str], test: Sequence[str]) -> Figures:
    """The marks of the stores that a run was trained and tested on."""
    return {"training": list(training), "test": list(test)}


def overlap(trained: Trained, tested: Store, split: str) -> Figures | None:
    """How many classes of `split` were trained on, and images outside of them; None: not known."""
    if trained.classes is None:
        return None
    classes = overlaps.of_store(tested, split)
    shared = overlaps.between(classes, trained.classes)
    return {
        "trained_on": trained.where,
        "classes": len(shared.classes),
        "of_classes": len(classes.names),
        "images": len(shared.images),
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


def _store_at(dataset: str) -> Store | None:
    try:
        return episodes.open(dataset)
    except EpisodesError:
        return None
