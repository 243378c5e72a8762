"""A manifest made in memory: the facts of a user's own data."""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence

from episodes import manifest
from episodes.errors import UsageError
from episodes.manifest import PARTS, ImageFormat, Manifest, Source, SplitScheme
from episodes.own.collection import Collection, Item, some_of
from episodes.own.splits import Split
from episodes.prepare.building import QUARTER_TURNS, natural_order
from episodes.store.layout import StoreInfo

SCHEME = "own"
VERSION = "1"
NO_LICENCE = "not stated"
USUAL_SIZE = 84
NAME = re.compile(r"\w[\w.+-]*")
LONGEST_NAME = 100


def check_name(name: str) -> str:
    """`name`, if it can be a dataset's of one's own; raises UsageError.

    It is a folder's name, and it is never taken for a shipped dataset or a store made of one.
    """
    if not NAME.fullmatch(name) or len(name.encode()) > LONGEST_NAME:
        raise UsageError(
            f"the name {name!r} is not a plain one: expected letters, digits, _, -, + and dots, "
            "such as --name flowers"
        )
    for shipped in manifest.names():
        if name == shipped or name.startswith(f"{shipped}-"):
            raise UsageError(
                f"the name {name!r} belongs to the shipped dataset {shipped}: choose another --name"
            )
    return name


def manifest_of(
    collection: Collection, name: str, split: Split, channels: int, licence: str
) -> Manifest:
    """The facts of `collection` as the dataset `name`, with one split scheme, "own".

    Classes are in natural order. The digest changes with the images' names and sizes, the classes,
    the split, the channels and the licence.
    """
    class_names = sorted(collection.class_names, key=natural_order)
    ids = {class_name: index for index, class_name in enumerate(class_names)}
    images = [0] * len(class_names)
    for item in collection.items:
        images[ids[item.class_name]] += 1
    classes = {part: tuple(sorted(ids[cls] for cls in split.classes[part])) for part in PARTS}
    digest = hashlib.sha256(json.dumps([channels, licence, class_names, classes]).encode())
    for line in _lines(collection.items):
        digest.update(line)
    return Manifest(
        name=name,
        title=name,
        version=VERSION,
        homepage=collection.origin,
        licence=licence,
        redistribution=False,
        citation="",
        image=ImageFormat(collection.size or USUAL_SIZE, channels, "bilinear"),
        images=len(collection.items),
        class_names=tuple(class_names),
        class_images=tuple(images),
        schemes={SCHEME: SplitScheme(SCHEME, split.source, classes)},
        default_scheme=SCHEME,
        sources=(Source(name=collection.kind, reader="", files=()),),
        digest=digest.hexdigest(),
    )


def what_changed(info: StoreInfo, facts: Manifest) -> str:
    """In words, how `facts` differ from what the store `info` was made of."""
    copies = QUARTER_TURNS if info.preprocessing.get("rotations") else 1
    names = [
        name.rpartition("/rot")[0] if copies > 1 else name for name in info.class_names[::copies]
    ]
    before, now = {*names, *(skipped["class"] for skipped in info.skipped)}, {*facts.class_names}
    more = facts.images - (info.rows // copies + len(info.skipped))
    parts = info.splits.get(SCHEME, {})
    parts_before = [{names[index // copies] for index in parts.get(part, ())} for part in PARTS]
    parts_now = [
        {facts.class_names[index] for index in facts.schemes[SCHEME].classes[part]} & {*names}
        for part in PARTS
    ]
    changes = {
        f"{abs(more):,} image(s) {'more' if more > 0 else 'fewer'}": more != 0,
        f"new classes: {some_of(sorted(now - before))}": now - before,
        f"classes gone: {some_of(sorted(before - now))}": before - now,
        "another split of the classes": now == before and parts_now != parts_before,
        f"{facts.image.channels} channel(s) instead of {info.channels}": (
            facts.image.channels != info.channels
        ),
        f"the licence was {info.licence!r}": facts.licence != info.licence,
    }
    told = [change for change, there in changes.items() if there]
    return ", ".join(told) or "other images under the same names"


def _lines(items: Sequence[Item]) -> Iterator[bytes]:
    for item in sorted(items, key=lambda item: (item.class_name, item.image_id)):
        yield json.dumps([item.class_name, item.image_id, item.mark]).encode() + b"\n"
