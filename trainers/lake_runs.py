"""Lake's one-shot classification runs on Omniglot, read from all_runs.zip or its folder."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from episodes import images
from episodes.archive import members
from episodes.errors import EpisodesError, UsageError, some_of

CHARACTERS = 20
NAMES = tuple(f"run{number:02d}" for number in range(1, 21))
SUPPORT = tuple(f"training/class{number:02d}.png" for number in range(1, CHARACTERS + 1))
QUERY = tuple(f"test/item{number:02d}.png" for number in range(1, CHARACTERS + 1))
LABELS = "class_labels.txt"
EXPECTED = tuple(f"{name}/{file}" for name in NAMES for file in (*SUPPORT, *QUERY, LABELS))

A_FILE = re.compile(
    r"(?:.*/)?(run\d+/(?:training/class\d+\.png|test/item\d+\.png|class_labels\.txt))"
)
LARGEST_FILE = 1 << 20
TAKE_IT = "take python/one-shot-classification/all_runs.zip of github.com/brendenlake/omniglot"
PUBLISHED = "668e9461ee5de4497965958c571a7e7ed2b11a05bf9ec5309cdc5d0f420a4182"
"""The `fingerprint` of the runs in that file."""


@dataclass(frozen=True)
class OneShotRun:
    """20 characters of one alphabet: one drawing of each, and 20 of another drawer to classify.

    `support` and `query` are images uint8 `[H, W, 1]`, ink 255 on paper 0, as prepared stores of
    Omniglot have them; `labels`, int64 `[20]`, are the places of the query images' characters in
    `support`.
    """

    name: str
    support: tuple[np.ndarray, ...]
    query: tuple[np.ndarray, ...]
    labels: np.ndarray


def read_runs(path: Path) -> tuple[OneShotRun, ...]:
    """The 20 runs of a zip or folder in the layout of Lake's all_runs.zip, in order.

    Raises UsageError where nothing is there; EpisodesError for files that are missing, too many,
    damaged, or not what they should be.
    """
    if not path.exists():
        raise UsageError(f"{path} is not there: {TAKE_IT}")
    files = _files(path)
    if missing := [name for name in EXPECTED if name not in files]:
        raise EpisodesError(f"{path} lacks {some_of(missing)}: {TAKE_IT}")
    if others := sorted(files.keys() - {*EXPECTED}):
        raise EpisodesError(
            f"{path} has {some_of(others)} too; expected run01 to run20 of {CHARACTERS} training "
            f"and {CHARACTERS} test images each: {TAKE_IT}"
        )
    return tuple(_run(path, name, files) for name in NAMES)


def fingerprint(runs: Sequence[OneShotRun]) -> str:
    """SHA-256, in hex, of the runs' pixels and labels, however they are packed."""
    content = hashlib.sha256()
    for run in runs:
        content.update(f"{run.name} {run.labels.tolist()}\n".encode())
        for pixels in (*run.support, *run.query):
            content.update(f"{pixels.shape}\n".encode())
            content.update(pixels.tobytes())
    return content.hexdigest()


def _files(path: Path) -> dict[str, bytes]:
    """The files of runs by their names from the run's on."""
    found: dict[str, bytes] = {}
    for member in members(path):
        if match := A_FILE.fullmatch(member.name):
            if match[1] in found:
                raise EpisodesError(f"{path} has {match[1]} twice: {TAKE_IT}")
            found[match[1]] = member.read(LARGEST_FILE)
    return found


def _run(path: Path, name: str, files: Mapping[str, bytes]) -> OneShotRun:
    def drawings(names: Sequence[str]) -> tuple[np.ndarray, ...]:
        places = [f"{name}/{file}" for file in names]
        return tuple(
            np.uint8(255) - images.decode(files[place], f"{path}: {place}", channels=1)
            for place in places
        )

    where = f"{path}: {name}/{LABELS}"
    labels = _labels(files[f"{name}/{LABELS}"].decode("utf-8", "replace"), name, where)
    return OneShotRun(name, drawings(SUPPORT), drawings(QUERY), labels)


def _labels(text: str, name: str, where: str) -> np.ndarray:
    """The place of each test item's class, by a line an item."""
    pairs = [tuple(line.split()) for line in text.splitlines() if line.strip()]
    classes = {f"{name}/{file}": place for place, file in enumerate(SUPPORT)}
    items = [f"{name}/{file}" for file in QUERY]
    for pair in pairs:
        if len(pair) != 2 or pair[0] not in items or pair[1] not in classes:
            raise EpisodesError(
                f"{where} has the line {' '.join(pair)[:80]!r}; expected such as "
                f"'{items[0]} {name}/{SUPPORT[0]}'"
            )
    by_item = {item: classes[of_class] for item, of_class in pairs}
    if len(pairs) != CHARACTERS or len(by_item) != CHARACTERS:
        raise EpisodesError(
            f"{where} has {len(pairs)} lines about {len(by_item)} test images; expected a line for "
            f"each of the {CHARACTERS}"
        )
    return np.array([by_item[item] for item in items])
