"""A source's pickles: in its archive, in the folder that it extracts to, or loose."""

import re
from collections.abc import Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, TypeGuard

import numpy as np

from episodes.archive import Member, members
from episodes.archive.folder import folder_members
from episodes.manifest import Source
from episodes.readers import find

LOOSE = (".pkl", ".pickle", ".txt")


def streams(
    source: Source, folder: Path, names: re.Pattern[str]
) -> Iterator[tuple[str, BinaryIO, str]]:
    """The files whose names match: group 1 of the match, the open file, and what to call it.

    Each must be read before the next is asked for. Raises EpisodesError for a damaged archive.
    """
    for member in _members(source, folder, names):
        if match := names.fullmatch(PurePosixPath(member.name).name):
            with closing(member.open()) as stream:
                yield match[1], stream, f"{member.origin}/{member.name}"


def is_there(source: Source, folder: Path, names: re.Pattern[str], count: int) -> bool:
    """Whether the source's archive is in `folder`, or `count` files whose names match."""
    matches = filter(None, (names.fullmatch(path.name) for path in _loose(folder, names)))
    return bool(_packed(source, folder)) or len({match[1] for match in matches}) == count


def fields(content: Any) -> dict[Any, Any]:
    """What a pickle holds, if it is a dict, else an empty one."""
    return content if isinstance(content, dict) else {}


def are_pixels(value: Any) -> TypeGuard[np.ndarray]:
    """Whether `value` is an array of RGB images, uint8 [N, H, W, 3]."""
    return (
        isinstance(value, np.ndarray)
        and value.dtype == np.uint8
        and value.ndim == 4
        and value.shape[3] == 3
    )


def whole_numbers(value: Any) -> list[int] | None:
    """A list or one-dimensional array of whole numbers as a list; None for anything else."""
    if isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in "iu":
        return value.tolist()
    if isinstance(value, list) and all(type(number) is int for number in value):
        return value
    return None


def _members(source: Source, folder: Path, names: re.Pattern[str]) -> Iterator[Member]:
    if packed := _packed(source, folder):
        return chain.from_iterable(map(members, packed))
    return chain.from_iterable(map(folder_members, _loose(folder, names)))


def _packed(source: Source, folder: Path) -> list[Path]:
    """The archives of the source that are there, or their folders."""
    archives = (file for file in source.files if not file.name.endswith(LOOSE))
    return [path for file in archives if (path := find(file, folder)) is not None]


def _loose(folder: Path, names: re.Pattern[str]) -> list[Path]:
    return sorted(path for path in folder.iterdir() if names.fullmatch(path.name))
