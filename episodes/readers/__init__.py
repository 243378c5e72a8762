"""Readers: one module a raw layout, each turning a dataset's files into records."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np

from episodes.errors import EpisodesError
from episodes.manifest import Manifest


@dataclass(frozen=True)
class Record:
    """One image as it was found: its class, its id in the source, and uint8 pixels [H, W]."""

    class_name: str
    image_id: str
    pixels: np.ndarray


Reader = Callable[[Manifest, Path | None], Iterator[Record]]


def reader_of(manifest: Manifest) -> Reader:
    """The function that reads the raw layout of the manifest's dataset."""
    try:
        module = import_module(f"episodes.readers.{manifest.reader}")
    except ModuleNotFoundError:
        raise EpisodesError(
            f"{manifest.name}.toml: reader {manifest.reader!r} is not one of episodes.readers"
        ) from None
    reader: Reader = module.records
    return reader
