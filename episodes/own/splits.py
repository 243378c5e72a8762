"""Class splits of a user's own data: by lists, by fractions and a seed, or by a file."""

import hashlib
import json
from collections.abc import Collection as Several
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from episodes.errors import EpisodesError, UsageError, unknown_name
from episodes.manifest import PARTS
from episodes.own.collection import Collection, composed, unknown_class
from episodes.own.tables import read_table, read_text

DEFAULT_FRACTIONS = ("0.64", "0.16", "0.2")
DEFAULT_SEED = 1
NO_PART = "-"

Lists = Mapping[str, Sequence[str]]
Named = tuple[str, str, str]  # a class, its part, and where that was said


@dataclass(frozen=True)
class Request:
    """What was asked for: lists of class names, or fractions and a seed, or a file, or nothing.

    Raises UsageError where two of them were, and for fractions that cannot be.
    """

    lists: Lists
    fractions: Sequence[float | str] | None = None
    seed: int | None = None
    file: Path | None = None

    def __post_init__(self) -> None:
        asked = {
            "--train, --val, --test": any(self.lists.values()),
            "--fractions, --split-seed": self.by_fractions,
            "--split-file": self.file is not None,
        }
        chosen = [options for options, wanted in asked.items() if wanted]
        if len(chosen) > 1:
            raise UsageError(f"{' and '.join(chosen)} exclude each other: keep one of them")
        if self.fractions is not None:
            exact_fractions(self.fractions)

    @property
    def by_fractions(self) -> bool:
        """Whether fractions or a seed were asked for."""
        return self.fractions is not None or self.seed is not None


@dataclass(frozen=True)
class Split:
    """The classes of each part, and in words where the split comes from."""

    classes: Mapping[str, frozenset[str]]
    source: str


def split_classes(request: Request, collection: Collection) -> Split:
    """The split of the collection's classes that was asked for; classes not named are in no part.

    Where nothing was asked for, the one that the collection came with, or else 0.64, 0.16, 0.2 with
    seed 1. Raises UsageError for classes that are unknown or named twice.
    """
    names = collection.class_names
    if any(request.lists.values()):
        return Split(_parts(_listed(request.lists, names), names), "lists given to prepare")
    if request.file is not None:
        return Split(_parts(read_split_file(request.file), names), f"the file {request.file.name}")
    if collection.parts is not None and not request.by_fractions:
        came = [(name, part, collection.divided_by) for name, part in collection.parts.items()]
        return Split(_parts(came, names), collection.divided_by)
    fractions = request.fractions or DEFAULT_FRACTIONS
    seed = DEFAULT_SEED if request.seed is None else request.seed
    return Split(
        split_by_fractions(names, fractions, seed),
        f"fractions {', '.join(map(str, fractions))} of the classes, seed {seed}",
    )


def split_by_fractions(
    class_names: Several[str], fractions: Sequence[float | str], seed: int
) -> dict[str, frozenset[str]]:
    """The classes in the order of SHA-256(seed, name), cut into train, val and test.

    The same on every machine, whatever order they come in. A part whose fraction is not 0 gets a
    class where there are enough.
    """
    ordered = sorted(
        class_names, key=lambda name: hashlib.sha256(f"{seed}\n{name}".encode()).digest()
    )
    parts, start = {}, 0
    for part, size in zip(PARTS, _sizes(len(ordered), exact_fractions(fractions)), strict=True):
        parts[part] = frozenset(ordered[start : start + size])
        start += size
    return parts


def exact_fractions(fractions: Sequence[float | str]) -> list[Fraction]:
    """Three fractions of 1, exactly as they are written in decimals; raises UsageError."""
    try:
        exact = [Fraction(str(fraction)) for fraction in fractions]
    except (ValueError, ZeroDivisionError):
        exact = []
    if len(exact) != len(PARTS) or min(exact) < 0 or not 0 < sum(exact) <= 1:
        raise UsageError(
            f"the fractions are {','.join(map(str, fractions))}; expected three for train, val and "
            f"test that sum to 1 at most: {','.join(DEFAULT_FRACTIONS)}"
        )
    return exact


def read_split_file(path: Path) -> list[Named]:
    """The classes named by a JSON {"train": [...], ...}, or by a table with class and part.

    Raises EpisodesError for a file that is neither.
    """
    text = read_text(path)
    if text.lstrip().startswith("{"):
        return list(_named_in_json(path, text))
    return [
        named(row["class"].strip(), row["part"].strip(), f"{path}, line {row.line}")
        for row in read_table(path, ("class", "part"))
    ]


def _named_in_json(path: Path, text: str) -> Iterator[Named]:
    try:
        # As pairs, because a dict would drop what a repeated key holds.
        entries = json.loads(text, object_pairs_hook=list)
    except (ValueError, RecursionError) as error:
        raise EpisodesError(f"{path} is not valid JSON: {error}") from None
    for part, names in entries:
        if not isinstance(names, list) or any(type(name) not in (str, int) for name in names):
            raise EpisodesError(f"{path}: {part!r} must be a list of class names")
        for name in names:
            yield named(str(name), part, str(path))


def named(name: str, part: str, where: str) -> Named:
    """A class and its part ("" is none), said in `where`; raises UsageError for another part."""
    part = part or NO_PART
    if part not in (*PARTS, NO_PART):
        raise UsageError(f"{where}: {unknown_name('part', part, (*PARTS, NO_PART))}")
    return name, part, where


def _listed(lists: Lists, class_names: frozenset[str]) -> Iterator[Named]:
    """The classes of lists; a text that is no class's name is several with commas between."""
    for part, values in lists.items():
        for value in [values] if isinstance(values, str) else map(str, values):
            one = composed(value) in class_names
            for name in [value] if one else map(str.strip, value.split(",")):
                if name:
                    yield name, part, f"--{part}"


def _parts(entries: Iterable[Named], class_names: frozenset[str]) -> dict[str, frozenset[str]]:
    part_of: dict[str, str] = {}
    for name, part, where in entries:
        name = composed(name)
        if name not in class_names:
            raise unknown_class(name, class_names, where)
        if name in part_of:
            raise UsageError(
                f"{where} names the class {name!r}, which {part_of[name]} has already: "
                "name every class once"
            )
        part_of[name] = part
    if not set(PARTS) & set(part_of.values()):
        raise UsageError("the split names no class of train, val or test")
    return {
        part: frozenset(name for name, its_part in part_of.items() if its_part == part)
        for part in PARTS
    }


def _sizes(count: int, fractions: Sequence[Fraction]) -> list[int]:
    """How many of `count` classes each part gets: rounded ends, then none empty if possible."""
    ends = [int(count * sum(fractions[: at + 1]) + Fraction(1, 2)) for at in range(len(fractions))]
    sizes = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    for at, fraction in enumerate(fractions):
        if fraction and not sizes[at]:
            largest = sizes.index(max(sizes))
            if sum(sizes) == count:
                if sizes[largest] < 2:
                    continue
                sizes[largest] -= 1
            sizes[at] = 1
    return sizes
