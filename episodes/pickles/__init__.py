"""Other people's pickles, read without running anything that they name.

A pickle is a program. Python's Unpickler, even where its globals are restricted, lets it forge the
flags of a NumPy dtype (so that NumPy takes its bytes for pointers), allocates gigabytes for one
damaged index, and holds everything at once. The machine used here knows plain data and arrays of
numbers or text, and nothing else.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np

from episodes.errors import EpisodesError
from episodes.pickles.machine import Machine


def restricted_load(stream: BinaryIO, name: str) -> Any:
    """What a pickle of plain data holds, of any protocol; Python 2's `str` is read as latin-1.

    Arrays are read-only; large ones are mapped from a temporary file instead of held in memory.
    Raises EpisodesError, naming the pickle `name`, for damage, and for whatever is not a plain
    container, number, text, or NumPy array of numbers or text.
    """
    machine = Machine(stream, name)
    with _told(name):
        for _ in machine.steps():
            pass
        return machine.pop()


def byte_strings(stream: BinaryIO, name: str) -> Iterator[bytes]:
    """The items of a pickled list of encoded images, in turn: byte strings or uint8 arrays.

    Memory holds what the pickle appends to the list at once, 1,000 items as a rule. Raises
    EpisodesError, naming the pickle `name`, for damage and for other contents.
    """
    machine = Machine(stream, name)
    with _told(name):
        for _ in machine.steps():
            if (bottom := machine.bottom) and type(bottom[0]) is not list:
                raise ValueError(f"a {type(bottom[0]).__name__}, not a list of images")
            if bottom is machine.stack and len(bottom) == 1 and bottom[0]:
                yield from map(_encoded, bottom[0])
                bottom[0].clear()
                machine.forget()
        machine.pop()


def _encoded(item: object) -> bytes:
    if isinstance(item, np.ndarray) and item.dtype == np.uint8:
        return item.tobytes()
    if isinstance(item, str):
        return item.encode("latin-1")
    if isinstance(item, bytes):
        return item
    raise ValueError(f"a {type(item).__name__} where an encoded image was expected")


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Tells in one line whatever a damaged pickle leads to; there are many kinds."""
    try:
        yield
    except EpisodesError:
        raise
    except Exception as error:
        why = " ".join(str(error).split())
        if type(error) not in (ValueError, EOFError):
            why = f"{type(error).__name__} {why}".strip()
        raise EpisodesError(
            f"{name} cannot be read as a pickle of plain data ({why[:200]}): fetch it again"
        ) from None
