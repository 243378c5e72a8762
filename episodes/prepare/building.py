"""From a whole spool to a store: rows in class order and natural order, shards, description."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from episodes.disk import sync_file
from episodes.errors import UsageError, unknown_name
from episodes.manifest import Manifest
from episodes.prepare.card import write_card
from episodes.prepare.checking import Completeness, verified
from episodes.prepare.decoding import Corrupt
from episodes.prepare.spool import Entry, Spool
from episodes.progress import Progress
from episodes.recipe import Recipe
from episodes.store.digest import ContentDigest
from episodes.store.layout import (
    CONTAINERS,
    ENCODINGS,
    ONLY_ENCODING,
    ShardInfo,
    StoreInfo,
    write_info,
)
from episodes.store.shards import DEFAULT_SHARD_BYTES, writer
from episodes.version import installed_version

QUARTER_TURNS = 4
ROWS_AT_ONCE = 512
BYTES_AT_ONCE = 32 << 20


@dataclass(frozen=True)
class Form:
    """The form of a store, on which its content does not depend."""

    container: str = "hdf5"
    encoding: str = "raw"
    shard_bytes: int = DEFAULT_SHARD_BYTES
    threads: int = 1

    def __post_init__(self) -> None:
        if self.container not in CONTAINERS:
            raise unknown_name("format", self.container, CONTAINERS)
        if self.encoding not in ENCODINGS:
            raise unknown_name("encoding", self.encoding, ENCODINGS)
        if self.encoding != ONLY_ENCODING.get(self.container, self.encoding):
            raise UsageError(
                f"--format {self.container} keeps images as they are: leave --encoding out"
            )
        if self.shard_bytes < 1 or self.threads < 1:
            raise UsageError(
                f"shard_bytes {self.shard_bytes} and threads {self.threads} must be 1 or more"
            )


@dataclass(frozen=True)
class Contents:
    """What a store is made of beside its rows: where they came from, and what is missing."""

    completeness: Completeness
    corrupt: Sequence[Corrupt]
    source: str
    files: Sequence[Mapping[str, Any]]


def build(
    folder: Path,
    name: str,
    facts: Manifest,
    recipe: Recipe,
    form: Form,
    contents: Contents,
    spool: Spool,
    progress: Progress | None,
) -> None:
    """Write the store `name` into the empty `folder` from the rows of `spool`."""
    found = spool.class_sizes()
    present = [index for index, cls in enumerate(facts.class_names) if cls in found]
    copies = QUARTER_TURNS if recipe.rotations else 1
    class_names = [
        facts.class_names[index] + (f"/rot{90 * turn:03d}" if recipe.rotations else "")
        for index in present
        for turn in range(copies)
    ]
    sizes = [found[facts.class_names[index]] for index in present for _ in range(copies)]
    shape = spool.common_shape()
    shards = writer(
        folder,
        form.container,
        form.encoding,
        shape,
        form.shard_bytes,
        form.threads,
        rows=sum(sizes),
        dataset=facts.name,
        class_names=class_names,
    )
    digest, written = ContentDigest(), 0
    for class_id, class_name in enumerate(class_names):
        digest.start_class(class_name)
        cls, turn = facts.class_names[present[class_id // copies]], class_id % copies
        for entries in _in_order(spool.entries(cls)):
            ids = [entry.image_id for entry in entries]
            if form.encoding == "raw":
                turned = np.rot90(spool.pixels_of(entries), turn, axes=(1, 2))
                pixels = np.ascontiguousarray(turned)
                digest.add_rows(ids, pixels)
                shards.append(class_id, ids, pixels)
            else:
                digest.add_hashed_rows(ids, [(entry.shape, entry.sha256) for entry in entries])
                shards.append(class_id, ids, [spool.data_of(entry) for entry in entries])
            written += len(ids)
            if progress:
                progress("writing the store", written, sum(sizes))
    info = described(
        name,
        facts,
        recipe,
        form,
        contents,
        dict(zip(class_names, sizes, strict=True)),
        shape,
        shards.finish(),
        digest.hexdigest(),
    )
    complete(folder, info, facts)


def described(
    name: str,
    facts: Manifest,
    recipe: Recipe,
    form: Form,
    contents: Contents,
    class_sizes: Mapping[str, int],
    shape: tuple[int, int, int] | None,
    shards: tuple[ShardInfo, ...],
    content_digest: str,
) -> StoreInfo:
    """The description of the store `name`, whose classes, in their order, are of `class_sizes`."""
    whole = contents.completeness.whole and not contents.corrupt
    return StoreInfo(
        name=name,
        dataset=facts.name,
        title=facts.title,
        version=facts.version,
        homepage=facts.homepage,
        class_names=tuple(class_sizes),
        class_sizes=tuple(class_sizes.values()),
        splits=splits(facts, recipe, _present(facts, recipe, class_sizes)),
        default_scheme=facts.default_scheme,
        channels=facts.image.channels,
        image_shape=shape,
        preprocessing=asdict(recipe),
        training=facts.training,
        shards=shards,
        content_digest=content_digest,
        manifest_digest=facts.digest,
        licence=facts.licence,
        redistribution=facts.redistribution,
        citation=facts.citation,
        verified=verified(facts, recipe, contents.source, whole, content_digest),
        source=contents.source,
        sources=tuple(contents.files),
        partial=not contents.completeness.whole,
        missing=_missing(contents.completeness),
        skipped=tuple(
            {"class": image.class_name, "id": image.image_id, "reason": image.reason}
            for image in contents.corrupt
        ),
        identity=asdict(facts.identity) if facts.identity else None,
        container=form.container,
        encoding=form.encoding,
        tool_version=installed_version(),
    )


def complete(folder: Path, info: StoreInfo, facts: Manifest) -> None:
    """Write the card and, last, the description of the store in `folder`."""
    write_card(folder, info, facts)
    write_info(folder, info)
    sync_file(folder / "store.json")


def splits(
    facts: Manifest, recipe: Recipe, present: Sequence[int]
) -> dict[str, dict[str, tuple[int, ...]]]:
    """Class ids by scheme and part, where the manifest's classes `present` are kept."""
    copies = QUARTER_TURNS if recipe.rotations else 1
    ids = {index: copies * position for position, index in enumerate(present)}
    return {
        scheme.name: {
            part: tuple(
                ids[index] + turn for index in classes if index in ids for turn in range(copies)
            )
            for part, classes in scheme.classes.items()
        }
        for scheme in facts.schemes.values()
    }


def _present(facts: Manifest, recipe: Recipe, kept: Collection[str]) -> list[int]:
    """The manifest's classes that are among the names `kept`."""
    suffix = "/rot000" if recipe.rotations else ""
    return [index for index, name in enumerate(facts.class_names) if f"{name}{suffix}" in kept]


def natural_order(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """A sort key by which "img2" comes before "img10"."""
    parts = [
        (0, int(part), "") if part.isdecimal() else (1, 0, part)
        for part in re.split(r"([0-9]+)", name)
    ]
    return parts, name


def _in_order(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """The rows of a class in natural order of their ids, a bounded number of bytes at once."""
    some: list[Entry] = []
    waiting = 0
    for entry in sorted(entries, key=lambda entry: natural_order(entry.image_id)):
        some.append(entry)
        waiting += entry.length
        if len(some) == ROWS_AT_ONCE or waiting >= BYTES_AT_ONCE:
            yield some
            some, waiting = [], 0
    if some:
        yield some


def _missing(completeness: Completeness) -> dict[str, int]:
    if completeness.whole:
        return {}
    return {
        "images": completeness.expected_images - completeness.images,
        "images_expected": completeness.expected_images,
        "classes": completeness.expected_classes - completeness.classes,
        "classes_expected": completeness.expected_classes,
    }
