"""What the names in a pickle stand for: plain containers, and arrays of numbers or text."""

import math
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

PLAIN_DTYPE = re.compile(r"[<>|=]?([biufcSU][0-9]+|\?)")
SCALARS = (str, bytes, int, float, complex, type(None), np.generic)
LATIN_1 = ("latin1", "latin-1")
MAX_DIMENSIONS = 32
UNICODE_END = 0x110000


class Dtype:
    """What a pickle calls numpy.dtype: numbers or text of a fixed size.

    Objects are refused: NumPy would believe flags that say that their bytes are no pointers.
    """

    def __init__(self, code: str, *_: object) -> None:
        if not PLAIN_DTYPE.fullmatch(code):
            raise ValueError(f"an array of {code!r} where numbers or text were expected")
        self.plain = np.dtype(code)

    def build(self, state: tuple[Any, ...]) -> None:
        """Take the byte order from a dtype's state, which has nothing else for a plain one."""
        _, order, *structure = state[:5]
        if structure != [None] * 3:
            raise ValueError("an array of records where numbers or text were expected")
        if order in ("<", ">"):
            self.plain = self.plain.newbyteorder(order)


class Array:
    """An array, first without its numbers."""

    built: np.ndarray | None = None

    def build(self, state: tuple[Any, ...]) -> np.ndarray:
        """The array of an array's state: version, shape, dtype, whether columns first, bytes."""
        _, shape, dtype, columns_first, raw = state
        self.built = _from_buffer(raw, dtype, shape, "F" if columns_first else "C")
        return self.built


class Global(NamedTuple):
    """A name that a pickle may call, by what is called in its place."""

    call: Callable[..., Any]


def key(value: Any) -> Any:
    """`value`, if it can be hashed in no time, as a nest of tuples cannot; else ValueError."""
    if not all(isinstance(part, SCALARS) for part in (value if type(value) is tuple else [value])):
        raise ValueError(f"a {type(value).__name__} as a key")
    return value


def _from_buffer(raw: Any, dtype: Dtype, shape: Iterable[int], order: Any = "C") -> np.ndarray:
    raw = raw.encode("latin-1") if isinstance(raw, str) else raw
    shape = tuple(shape)
    plain = dtype.plain
    if (
        len(shape) > MAX_DIMENSIONS
        or min(shape, default=0) < 0
        or math.prod(shape) * plain.itemsize != len(raw)
    ):
        raise ValueError(f"{len(raw)} bytes for an array {shape} of {plain}")
    if plain.kind == "U":
        letters = np.ndarray(len(raw) // 4, f"{plain.str[0]}u4", raw)
        if letters.max(initial=0) >= UNICODE_END:
            raise ValueError("text beyond Unicode")
    return np.ndarray(shape, plain, raw, order=order)


def _scalar(dtype: Dtype, raw: Any) -> Any:
    return _from_buffer(raw, dtype, ())[()]


def _encode(text: str, encoding: str) -> bytes:
    if encoding not in LATIN_1:
        raise ValueError("bytes that are not encoded as latin1")
    return text.encode(encoding)


def _ndarray(*_: object) -> None:
    raise ValueError("an array that is made in an unknown way")


def _of_scalars(kind: type) -> Callable[..., Any]:
    def make(*arguments: Any) -> Any:
        allocates = kind in (bytes, bytearray) and any(isinstance(a, int) for a in arguments)
        if allocates or not all(isinstance(value, SCALARS) for value in arguments):
            raise ValueError(f"a {kind.__name__} made from something strange")
        return kind(*arguments)

    return make


def _of_items(kind: type) -> Callable[..., Any]:
    def make(items: Any = ()) -> Any:
        if type(items) not in (list, tuple):
            raise ValueError(f"a {kind.__name__} made from something strange")
        return kind(items)

    return make


def _of_keys(kind: Callable[..., Any]) -> Callable[..., Any]:
    return lambda items=(): kind(map(key, items))


def _of_pairs(kind: type[dict]) -> Callable[..., Any]:
    return lambda pairs=(): kind((key(name), value) for name, value in pairs)


_BUILTINS: dict[str, Callable[..., Any]] = {
    "list": _of_items(list),
    "tuple": _of_items(tuple),
    "dict": _of_pairs(dict),
    "set": _of_keys(set),
    "frozenset": _of_keys(frozenset),
    "unicode": _of_scalars(str),
    "long": _of_scalars(int),
    **{k.__name__: _of_scalars(k) for k in (str, bytes, bytearray, int, float, bool, complex)},
}
_CORE: dict[str, Callable[..., Any]] = {
    "multiarray._reconstruct": lambda *_: Array(),
    "multiarray.scalar": _scalar,
    "numeric._frombuffer": _from_buffer,
}
GLOBALS = {
    "_codecs.encode": Global(_encode),
    "collections.OrderedDict": Global(_of_pairs(OrderedDict)),
    "numpy.dtype": Global(Dtype),
    "numpy.ndarray": Global(_ndarray),
    **{f"numpy.core.{name}": Global(call) for name, call in _CORE.items()},
    **{f"numpy._core.{name}": Global(call) for name, call in _CORE.items()},
    **{f"builtins.{name}": Global(call) for name, call in _BUILTINS.items()},
    **{f"__builtin__.{name}": Global(call) for name, call in _BUILTINS.items()},
}
