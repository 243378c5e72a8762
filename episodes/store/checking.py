"""What a store's description must hold to: it may come from elsewhere."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from types import UnionType
from typing import Any, get_args, get_origin

from episodes.manifest import PARTS


def check_types(record: Any) -> None:
    """Raises ValueError where a field of a dataclass is not of its type."""
    for each in fields(record):
        kinds = get_args(each.type) if isinstance(each.type, UnionType) else (each.type,)
        value = getattr(record, each.name)
        if (
            type(value) is bool
            and bool not in kinds
            or not isinstance(value, tuple(get_origin(kind) or kind for kind in kinds))
        ):
            raise ValueError(f"{each.name} is {value!r}")


def check_whole_numbers(name: str, values: Iterable[Any], below: int = 2**62) -> None:
    """Raises ValueError where one of `values` is no whole number from 0 to `below`."""
    for value in values:
        if type(value) is not int or not 0 <= value < below:
            raise ValueError(f"{name} has {value!r}; expected whole numbers below {below}")


def check_texts(name: str, values: Iterable[Any]) -> None:
    """Raises ValueError where one of `values` is no text."""
    for value in values:
        if not isinstance(value, str):
            raise ValueError(f"{name} has {value!r}; expected text")


def check_entries(name: str, entries: Iterable[Any], keys: set[str]) -> None:
    """Raises ValueError where one of `entries` is no mapping that has all `keys`."""
    for entry in entries:
        if not isinstance(entry, Mapping) or not keys <= set(entry):
            raise ValueError(f"{name} has {entry!r}; expected {sorted(keys)}")


def check_splits(
    splits: Mapping[str, Mapping[str, tuple[int, ...]]], default: str, classes: int
) -> None:
    """Raises ValueError where a scheme is not three parts of the classes, or `default` is none."""
    for scheme, parts in splits.items():
        if set(parts) != set(PARTS):
            raise ValueError(f"the split {scheme!r} has {sorted(parts)}; expected {sorted(PARTS)}")
        for part, chosen in parts.items():
            check_whole_numbers(f"the split {scheme!r}, {part},", chosen, classes)
        every = [index for chosen in parts.values() for index in chosen]
        if len(set(every)) < len(every):
            raise ValueError(f"the split {scheme!r} has a class twice")
    if default not in splits:
        raise ValueError(f"default_scheme is {default!r}; expected one of {sorted(splits)}")


def check_identity(identity: Mapping[str, str] | None) -> None:
    """Raises ValueError for anything but a namespace and a pattern with exactly one group."""
    if identity is None:
        return
    if set(identity) != {"namespace", "pattern"}:
        raise ValueError(f"identity has {sorted(identity)}; expected namespace and pattern")
    check_texts("identity", identity.values())
    try:
        groups = re.compile(identity["pattern"]).groups
    except (re.error, OverflowError, RecursionError):
        groups = 0
    if groups != 1:
        raise ValueError(f"identity has {identity['pattern']!r}; expected a pattern of one group")
