"""JSON files too large to be held: the items of their arrays, read one after the other."""

import codecs
import json
import re
from collections.abc import Collection, Generator, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, TypeVar

from episodes.archive import members
from episodes.errors import EpisodesError

PIECE = 1 << 20
LARGEST_ITEM = 1 << 26
WHITESPACE = re.compile(r"[ \t\r\n]*")
DELIMITERS = frozenset(",:]} \t\r\n")
DECODER = json.JSONDecoder()
LIMIT = 1 << 63

Kind = TypeVar("Kind")


def documents(path: Path, names: Collection[str]) -> Generator[tuple[str, BinaryIO]]:
    """The files called `names` of the archive or folder `path`, or `path` itself if it is one.

    Each is an open stream with what to call it in messages, until the next is asked for. Raises
    EpisodesError for one that is not there.
    """
    if path.name in names:
        with path.open("rb") as stream:
            yield str(path), stream
        return
    missing = set(names)
    for member in members(path):
        if (name := PurePosixPath(member.name).name) in missing:
            with member.open() as stream:
                yield f"{path}: {name}", stream
            missing.remove(name)
            if not missing:
                return
    raise EpisodesError(f"{path} has no {min(missing)}: fetch it again")


def field(item: Any, key: str, kind: type[Kind], where: str) -> Kind:
    """What the object `item` has at `key`; raises EpisodesError naming `where` if it is no `kind`.

    An integer must fit into 64 bits.
    """
    value = item.get(key) if isinstance(item, dict) else None
    if not isinstance(value, kind) or (isinstance(value, int) and not -LIMIT <= value < LIMIT):
        raise EpisodesError(
            f"{where}: {json.dumps(item)[:80]} has no {key} as it should: fetch it again"
        )
    return value


def items(stream: BinaryIO, where: str) -> Iterator[tuple[str, Any]]:
    """Each item of each array in the JSON object `stream`, with the array's key, as they come.

    Values that are no arrays are passed over. Memory is bounded by the largest item. Raises
    EpisodesError naming `where` for what is not whole or no such JSON.
    """
    text = _Text(stream, where)
    text.expect("{")
    if text.take("}"):
        return
    while True:
        key = text.value()
        if not isinstance(key, str):
            raise text.damaged()
        text.expect(":")
        if not text.take("["):
            text.value()
        elif not text.take("]"):
            yield key, text.value()
            while text.take(","):
                yield key, text.value()
            text.expect("]")
        if not text.take(","):
            break
    text.expect("}")


class _Text:
    """The text of a JSON file, of which only the part that is being parsed is held."""

    def __init__(self, stream: BinaryIO, where: str) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._where = where
        self._text = ""
        self._at = 0

    def damaged(self) -> EpisodesError:
        return EpisodesError(f"{self._where} is damaged or no JSON object: fetch it again")

    def take(self, sign: str) -> bool:
        """Whether `sign` comes next; if so, it is passed."""
        while True:
            self._at = self._after_whitespace()
            if self._at < len(self._text):
                break
            if not self._more():
                return False
        if self._text[self._at] != sign:
            return False
        self._at += 1
        return True

    def expect(self, sign: str) -> None:
        if not self.take(sign):
            raise self.damaged()

    def value(self) -> Any:
        """The value that comes next, of any kind."""
        while True:
            try:
                found, end = DECODER.raw_decode(self._text, self._after_whitespace())
            except (ValueError, RecursionError):
                end = len(self._text)
            # What no delimiter follows may be a number that goes on in the next piece.
            if self._text[end : end + 1] in DELIMITERS:
                self._at = end
                return found
            if len(self._text) - self._at > LARGEST_ITEM or not self._more():
                raise self.damaged()

    def _after_whitespace(self) -> int:
        match = WHITESPACE.match(self._text, self._at)
        assert match is not None
        return match.end()

    def _more(self) -> bool:
        """Read on, as much again as waits to be parsed: False where there is no more."""
        try:
            encoded = self._stream.read(max(PIECE, len(self._text) - self._at))
            piece = self._decoder.decode(encoded, final=not encoded)
        except UnicodeDecodeError:
            raise self.damaged() from None
        self._text, self._at = self._text[self._at :] + piece, 0
        return bool(encoded)
