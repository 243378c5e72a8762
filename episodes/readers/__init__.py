"""Readers: one module a raw layout, each turning a source's files into records.

A reader module has `records(manifest, source, folder, boxes)`: every image in the files' own order,
one after the other, with its object's box where `boxes` asks for them. It may have
`is_there(source, folder)`, where the source's files have no fixed names, and
`arrays(manifest, source, folder)`, where they are arrays of pixels that can be used as they are.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np

from episodes.download import page_of
from episodes.errors import EpisodesError, UsageError
from episodes.manifest import Manifest, Source, SourceFile

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Record:
    """One image as it was found: its class, its id inside the class, and the image itself.

    `image` is the encoded file, or uint8 pixels [H, W] or [H, W, C]; `box` is the object's (left,
    upper, right, lower) in pixels, where it was asked for; an `inverted` image is to be turned into
    its negative.
    """

    class_name: str
    image_id: str
    image: bytes | np.ndarray
    box: Box | None = None
    inverted: bool = False


@dataclass(frozen=True)
class PixelArray:
    """A class's images as they lie in a file: uint8 [rows, H, W, C] from byte `offset` to its end.

    An image's id is its row.
    """

    class_name: str
    path: Path
    offset: int
    rows: int


Reader = Callable[[Manifest, Source, Path, bool], Iterator[Record]]
ArrayReader = Callable[[Manifest, Source, Path], Iterator[PixelArray]]


def reader_of(source: Source) -> Reader:
    """The function that reads the raw layout of `source`."""
    reader: Reader = _module(source).records
    return reader


def declared_files(manifest: Manifest, source: Source) -> tuple[SourceFile, ...]:
    """The files of `source` in the manifest: those too that a partial preparation goes without."""
    return next(entry.files for entry in manifest.sources if entry.name == source.name)


def array_reader_of(source: Source) -> ArrayReader | None:
    """The function that finds the arrays of `source`; None where its files are no arrays."""
    reader: ArrayReader | None = getattr(_module(source), "arrays", None)
    return reader


def is_there(source: Source, folder: Path, crop: str = "none") -> bool:
    """Whether every file of `source` that `crop` needs is in `folder`, packed or extracted."""
    recognise = getattr(_module(source), "is_there", None)
    if recognise is not None:
        return bool(recognise(source, folder))
    return all(find(file, folder) is not None for file in source.files_for(crop))


def has_no_fixed_names(source: Source) -> bool:
    """Whether the source's reader takes its files under any name."""
    return hasattr(_module(source), "is_there")


def find(file: SourceFile, folder: Path) -> Path | None:
    """`file` in `folder`, or else the folder that it extracts to; None where neither is there."""
    archive = folder / file.name
    if archive.is_file():
        return archive
    if file.extracted is not None and (folder / file.extracted).is_dir():
        return folder / file.extracted
    return None


def locate(file: SourceFile, folder: Path) -> Path:
    """As `find`; raises EpisodesError where neither is there."""
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder; expected the folder that holds {file.name}")
    if (found := find(file, folder)) is None:
        extracted = f" nor the folder {file.extracted}" if file.extracted else ""
        raise EpisodesError(
            f"{folder} holds {'neither' if extracted else 'no'} {file.name}{extracted}: "
            f"fetch {page_of(file)} into it"
        )
    return found


def _module(source: Source) -> ModuleType:
    try:
        return import_module(f"episodes.readers.{source.reader}")
    except ModuleNotFoundError as error:
        if error.name != f"episodes.readers.{source.reader}":
            raise
        raise EpisodesError(
            f"the source {source.name} names the reader {source.reader!r}, "
            "which is not one of episodes.readers"
        ) from None
