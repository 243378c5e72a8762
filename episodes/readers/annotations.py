"""What stands beside the images in an archive: lists of one line an entry, and boxes."""

from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath

from episodes.archive import members
from episodes.errors import EpisodesError
from episodes.readers import Box

LARGEST_LIST = 1 << 26
FARTHEST_EDGE = 1e6
FETCH_AGAIN = "the archive is damaged: fetch it again"


def read_lists(path: Path, names: Collection[str]) -> dict[str, dict[str, str]]:
    """The lists called `names` in the archive or folder `path`: of each line, first word to rest.

    A list that is not there is empty; the pass over the archive ends with the last of them.
    Raises EpisodesError for a line of one word, and for a first word that stands for two things.
    """
    lists: dict[str, dict[str, str]] = {name: {} for name in names}
    missing = set(names)
    for member in members(path):
        name = PurePosixPath(member.name).name
        if name in missing:
            lists[name] = _entries(member.read(LARGEST_LIST), f"{path.name}, {name}")
            missing.remove(name)
            if not missing:
                break
    return lists


def numbers(text: str, where: str) -> tuple[float, float, float, float]:
    """The four numbers of the box in `text`; raises EpisodesError naming `where` if it is none."""
    try:
        first, second, third, fourth = map(float, text.split())
    except ValueError:
        raise EpisodesError(
            f"{where}: {text[:80]!r} is no box of 4 numbers; {FETCH_AGAIN}"
        ) from None
    if not all(abs(number) < FARTHEST_EDGE for number in (first, second, third, fourth)):
        raise EpisodesError(f"{where}: {text[:80]!r} is no box in an image; {FETCH_AGAIN}")
    return first, second, third, fourth


def box_for(boxes: Mapping[str, Box], key: str, image: str, origin: str) -> Box:
    """The box at `key`; raises EpisodesError naming `image` and `origin` where there is none."""
    if key not in boxes:
        raise EpisodesError(
            f"{origin} has no box for {image}: fetch it again, or leave --crop box out"
        )
    return boxes[key]


def _entries(encoded: bytes, where: str) -> dict[str, str]:
    try:
        lines = encoded.decode().splitlines()
    except UnicodeDecodeError:
        raise EpisodesError(f"{where} is not UTF-8 text; {FETCH_AGAIN}") from None
    entries: dict[str, str] = {}
    for number, line in enumerate(map(str.strip, lines), start=1):
        first, _, rest = line.partition(" ")
        if line and (not rest or entries.setdefault(first, rest) != rest):
            raise EpisodesError(f"{where}, line {number}: {line[:80]!r}; {FETCH_AGAIN}")
    return entries
