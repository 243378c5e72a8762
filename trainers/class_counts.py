"""Whether the parts of a store's split have as many classes as a run's episodes."""

from collections.abc import Mapping

from episodes.errors import UsageError, some_of
from episodes.manifest import PARTS
from episodes.store import Store
from trainers import combinations
from trainers.config import RunConfig

Ways = Mapping[str, int]
"""The way of the episodes that are drawn from each part of a split."""


def check_ways(store: Store, config: RunConfig) -> None:
    """Raises UsageError, with the flags that mend it, where a part has too few classes."""
    counts = _counts(store, config.split)
    ways = _ways(config, counts)
    short = [part for part, way in ways.items() if counts[part] < way]
    if short:
        part = short[0]
        raise UsageError(
            f"{store.name} {config.split}.{part} has {counts[part]} classes; too few for way "
            f"{ways[part]}: {_remedy(store, config, counts, short)}"
        )


def _counts(store: Store, scheme: str) -> dict[str, int]:
    return {part: len(store.split_classes(f"{scheme}.{part}")) for part in PARTS}


def _ways(config: RunConfig, counts: Mapping[str, int]) -> Ways:
    assert config.way is not None and config.train_way is not None
    ways = {"train": config.train_way, "val": config.way, "test": config.way}
    if not (config.val_episodes and counts["val"]):
        del ways["val"]
    return ways


def _remedy(store: Store, config: RunConfig, counts: Mapping[str, int], short: list[str]) -> str:
    remedies = []
    if others := _schemes_with_enough(store, config):
        remedies.append(f"--split {some_of(others, between=' or --split ')}")
    elif (fewer := _fewer(config, counts)) is not None:
        remedies.append(fewer)
    if short == ["val"]:
        remedies.append("--val-episodes 0")
    if not remedies:
        return "prepare a dataset with more classes"
    return f"add {', or '.join(remedies)}"


def _schemes_with_enough(store: Store, config: RunConfig) -> list[str]:
    found = []
    for scheme in store.info.splits:
        counts = _counts(store, scheme)
        if all(counts[part] >= way for part, way in _ways(config, counts).items()):
            found.append(scheme)
    return found


def _fewer(config: RunConfig, counts: Mapping[str, int]) -> str | None:
    """The flags of the largest ways that all parts have the classes for; None where none are."""
    ways = _ways(config, counts)
    trained = min(ways["train"], counts["train"])
    tested = min(min(way, counts[part]) for part, way in ways.items() if part != "train")
    if combinations.one_way(config) is not None:
        trained = tested = min(trained, tested)
    if min(trained, tested) < 2:
        return None
    is_apart = trained != tested or config.train_way != config.way
    return f"--way {tested}" + (f" --train-way {trained}" if is_apart else "")
