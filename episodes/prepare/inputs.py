"""What a preparation reads."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from episodes.readers import PixelArray, Record


@dataclass(frozen=True)
class Input:
    """What is to be read: the source's name, its records from the first on, its files described.

    `arrays` are there where the files can be used as they are; `make` makes the store at that place
    of them, where that is asked for; `names_sha256` is that of
    `episodes.manifest.Source`; `advice` says what to do where images are missing.
    """

    source: str
    records: Callable[[], Iterable[Record]]
    files: Sequence[Mapping[str, Any]] = ()
    names_sha256: str | None = None
    advice: str = "look into what was given"
    arrays: Callable[[], Iterable[PixelArray]] | None = None
    make: Callable[[Path], None] | None = None
