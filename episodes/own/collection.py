"""Collections: images of the user's own, wherever they lie, as items by class."""

import hashlib
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from episodes.errors import EpisodesError, UsageError, did_you_mean
from episodes.readers import Record

NAMED = 3
MARK_BYTES = 16


@dataclass(frozen=True, slots=True)
class Item:
    """One image: its class, its id inside the class, where it is, and a mark of its content.

    `place` is what the collection's `read` takes; `mark` is a hash of the image.
    """

    class_name: str
    image_id: str
    place: Any
    mark: str


@dataclass(frozen=True)
class Collection:
    """Images that a user brought, and all that is known of them before one is decoded.

    `kind` is "folder", "csv", "hf" or "arrays", `origin` says in words where they are; `parts` maps
    classes to train, val or test where the images came divided, by `divided_by`; `notes` say what
    was passed over; `size` is the edge to which the images are brought, None where it must be said.
    """

    kind: str
    origin: str
    items: tuple[Item, ...]
    read: Callable[[Any], bytes | np.ndarray]
    parts: Mapping[str, str] | None = None
    divided_by: str = ""
    notes: tuple[str, ...] = ()
    size: int | None = 84
    channels: int = 3
    class_names: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        if not self.items:
            raise EpisodesError(f"{self.origin} holds no images")
        object.__setattr__(self, "class_names", frozenset(item.class_name for item in self.items))

    def records(self) -> Iterator[Record]:
        """Every image, read one after the other."""
        for item in self.items:
            yield Record(item.class_name, item.image_id, self.read(item.place))


def name_of_class(text: str, where: str) -> str:
    """`text` as a class's name, composed, so that every machine spells it alike.

    Raises EpisodesError, naming `where`, for an empty name, control characters and what is not
    Unicode.
    """
    return composed(_checked(text, "class name", where))


def id_of_image(text: str, where: str) -> str:
    """`text` as an image's id; raises EpisodesError as `name_of_class` does."""
    return _checked(text, "file name", where)


def composed(name: str) -> str:
    """`name` in Unicode's composed form: "é" is one character, on every machine."""
    return unicodedata.normalize("NFC", name)


def unknown_class(name: str, class_names: frozenset[str], where: str) -> UsageError:
    """The error for a name, read in `where`, that no class has: with the nearest one that has."""
    names = sorted(class_names)
    return UsageError(
        f"{where} names the class {name!r}, which is not there{did_you_mean(name, names)} "
        f"(the classes: {some_of(names)})"
    )


def some_of(names: list[str]) -> str:
    """The first few of `names`, and how many more there are."""
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more:,} more" if more > 0 else "")


def read_file(path: str) -> bytes:
    """The bytes of a file; raises EpisodesError where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise EpisodesError(f"cannot read {path}: {error.strerror}") from None


def _checked(text: str, what: str, where: str) -> str:
    if not text:
        raise EpisodesError(f"{where}: the {what} is empty")
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in text):
        raise EpisodesError(
            f"{where}: the {what} {ascii(text)} holds control characters or is not Unicode: "
            "rename it"
        )
    return text


def mark_of(path: Path) -> str:
    """The mark of the image file at `path`; raises EpisodesError where it cannot be read."""
    return mark_of_bytes(read_file(str(path)))


def mark_of_bytes(data: bytes) -> str:
    """The mark of an image file."""
    return hashlib.blake2b(data, digest_size=MARK_BYTES).hexdigest()
