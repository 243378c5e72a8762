"""The stack machine that pickles are programs for, without the opcodes that can do harm."""

import codecs
import mmap
import struct
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from episodes.errors import EpisodesError
from episodes.pickles.plain import GLOBALS, Array, Dtype, Global, key

SPOOLED = 1 << 24  # bytes from which a byte string is kept in a temporary file
CHUNK = 1 << 20
LONGEST_LINE = 1 << 26
LONGEST_INTEGER = 1 << 10
SHORT = 16  # of the names and codes that arrays share
SHOWN = 120


class Machine:
    """Runs one pickle, opcode by opcode; its result is what is then left on the stack.

    Raises EpisodesError for a name that is not in `GLOBALS`, and any other exception for damage.
    """

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self.stack: list[Any] = []
        self.name = name
        self._stream = stream
        self._below: list[list[Any]] = []  # the stacks under each mark
        self._memo: dict[int, Any] = {}
        self._memoized = 0

    def steps(self) -> Iterator[None]:
        """Run the program, pausing after each opcode."""
        while (code := self._exactly(1)) != b".":
            if code not in STEPS:
                raise ValueError(f"the opcode {code!r}, which plain data does not need")
            STEPS[code](self)
            yield

    @property
    def bottom(self) -> list[Any]:
        """The part of the stack that is under all marks."""
        return self._below[0] if self._below else self.stack

    def forget(self) -> None:
        """Let go of all memoized values but those that a pickle refers to all along."""
        self._memo = {
            index: value
            for index, value in self._memo.items()
            if isinstance(value, (Global, Dtype))
            or (isinstance(value, (str, bytes)) and len(value) <= SHORT)
        }

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        value = self.stack.pop()
        _refuse_unbuilt([value])
        return value

    def pop_to_mark(self) -> list[Any]:
        values, self.stack = self.stack, self._below.pop()
        _refuse_unbuilt(values)
        return values

    def mark(self) -> None:
        self._below.append(self.stack)
        self.stack = []

    def number(self, form: str) -> Any:
        return struct.unpack(form, self._exactly(struct.calcsize(form)))[0]

    def line(self) -> bytes:
        line = self._stream.readline(LONGEST_LINE)
        if not line.endswith(b"\n"):
            raise EOFError("it ends inside a line")
        return line[:-1]

    def octets(self, count: int) -> bytes | memoryview:
        """The next `count` bytes; many are mapped from a temporary file."""
        return self._exactly(count) if count < SPOOLED else self._spooled(count)

    def text(self, count: int) -> str:
        return self._exactly(count).decode("utf-8", "surrogatepass")

    def old_text(self, count: int) -> str | memoryview:
        """A `str` of Python 2."""
        octets = self.octets(count)
        return octets.decode("latin-1") if isinstance(octets, bytes) else octets

    def integer(self, count: int) -> int:
        if count > LONGEST_INTEGER:
            raise ValueError(f"an integer of {count} bytes")
        return int.from_bytes(self._exactly(count), "little", signed=True)

    def get(self, index: int) -> None:
        if index not in self._memo:
            raise ValueError(f"a reference to the value {index}, which is not there any more")
        value = self._memo[index]
        self.push(value.built if isinstance(value, Array) and value.built is not None else value)

    def put(self, index: int | None = None) -> None:
        self._memo[self._memoized if index is None else index] = self.stack[-1]
        self._memoized += 1

    def find(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError("a name that is not text")
        wanted = f"{module}.{name}"
        if wanted not in GLOBALS:
            shown = ascii(wanted[:SHOWN])[1:-1]
            raise EpisodesError(f"{self.name} wants to run {shown}: do not trust this file")
        self.push(GLOBALS[wanted])

    def call(self) -> None:
        arguments, target = self.pop(), self.pop()
        if not isinstance(target, Global) or not isinstance(arguments, tuple):
            raise ValueError("a call of something that is not a function")
        self.push(target.call(*arguments))

    def build(self) -> None:
        state, target = self.pop(), self.stack[-1]
        if isinstance(target, Array):
            self.stack[-1] = target.build(state)
        elif isinstance(target, Dtype):
            target.build(state)
        else:
            raise ValueError("a state for something that has none")

    def extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not list:
            raise ValueError("items for something that is not a list")
        target.extend(items)

    def update(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict) or len(items) % 2:
            raise ValueError("keys and values for something that is not a dict")
        target.update(zip(map(key, items[::2]), items[1::2], strict=True))

    def add(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not set:
            raise ValueError("items for something that is not a set")
        target.update(map(key, items))

    def _exactly(self, count: int) -> bytes:
        if count < 0:
            raise ValueError(f"something of {count} bytes")
        octets = self._stream.read(count)
        while len(octets) < count:
            more = self._stream.read(count - len(octets))
            if not more:
                raise EOFError(f"it ends {count - len(octets)} bytes early")
            octets += more
        return octets

    def _spooled(self, count: int) -> memoryview:
        with tempfile.TemporaryFile() as file:
            for start in range(0, count, CHUNK):
                piece = self._exactly(min(CHUNK, count - start))
                try:
                    file.write(piece)
                    file.flush()
                except OSError as error:
                    raise EpisodesError(
                        f"cannot keep {count} bytes of {self.name} in {tempfile.gettempdir()}: "
                        f"{error.strerror}: make room there, or name another folder in TMPDIR"
                    ) from None
            return memoryview(mmap.mmap(file.fileno(), count, access=mmap.ACCESS_READ))


def _refuse_unbuilt(values: list[Any]) -> None:
    if any(type(value) is Array for value in values):
        raise ValueError("an array without its numbers")


def _ascii(line: bytes) -> str:
    return line.decode("ascii")


def _decimal(line: bytes) -> bool | int:
    """The number of a line; protocol 0 writes True as 01 and False as 00."""
    truths = {b"00": False, b"01": True}
    return truths[line] if line in truths else int(line.removesuffix(b"L"))


def _quoted(line: bytes) -> str:
    """A `str` of Python 2 as it prints itself."""
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
        raise ValueError("text without its quotes")
    return codecs.escape_decode(line[1:-1])[0].decode("latin-1")


def _found(machine: Machine) -> None:
    name, module = machine.pop(), machine.pop()
    machine.find(module, name)


def _grouped(machine: Machine, count: int) -> None:
    items = [machine.pop() for _ in range(count)]
    machine.push(tuple(reversed(items)))


def _dict(machine: Machine) -> None:
    items = machine.pop_to_mark()
    machine.push({})
    machine.update(items)


def _constant(value: object) -> Callable[[Machine], object]:
    return lambda m: m.push(value)


STEPS: dict[bytes, Callable[[Machine], object]] = {
    # the protocol and the frames of protocol 4
    b"\x80": lambda m: m.number("<B"),
    b"\x95": lambda m: m.number("<Q"),
    # constants and numbers
    b"N": _constant(None),
    b"\x88": _constant(True),
    b"\x89": _constant(False),
    b"I": lambda m: m.push(_decimal(m.line())),
    b"L": lambda m: m.push(_decimal(m.line())),
    b"F": lambda m: m.push(float(m.line())),
    b"K": lambda m: m.push(m.number("<B")),
    b"M": lambda m: m.push(m.number("<H")),
    b"J": lambda m: m.push(m.number("<i")),
    b"G": lambda m: m.push(m.number(">d")),
    b"\x8a": lambda m: m.push(m.integer(m.number("<B"))),
    b"\x8b": lambda m: m.push(m.integer(m.number("<i"))),
    # text and bytes
    b"S": lambda m: m.push(_quoted(m.line())),
    b"U": lambda m: m.push(m.old_text(m.number("<B"))),
    b"T": lambda m: m.push(m.old_text(m.number("<i"))),
    b"V": lambda m: m.push(m.line().decode("raw-unicode-escape")),
    b"\x8c": lambda m: m.push(m.text(m.number("<B"))),
    b"X": lambda m: m.push(m.text(m.number("<I"))),
    b"\x8d": lambda m: m.push(m.text(m.number("<Q"))),
    b"C": lambda m: m.push(m.octets(m.number("<B"))),
    b"B": lambda m: m.push(m.octets(m.number("<I"))),
    b"\x8e": lambda m: m.push(m.octets(m.number("<Q"))),
    b"\x96": lambda m: m.push(m.octets(m.number("<Q"))),
    # containers
    b"(": Machine.mark,
    b"0": lambda m: m.stack.pop() if m.stack else m.pop_to_mark(),
    b"1": lambda m: m.pop_to_mark(),
    b"2": lambda m: m.push(m.stack[-1]),
    b")": _constant(()),
    b"t": lambda m: m.push(tuple(m.pop_to_mark())),
    b"\x85": lambda m: _grouped(m, 1),
    b"\x86": lambda m: _grouped(m, 2),
    b"\x87": lambda m: _grouped(m, 3),
    b"]": lambda m: m.push([]),
    b"l": lambda m: m.push(list(m.pop_to_mark())),
    b"a": lambda m: m.extend([m.pop()]),
    b"e": lambda m: m.extend(m.pop_to_mark()),
    b"}": lambda m: m.push({}),
    b"d": _dict,
    b"s": lambda m: m.update([m.pop(), m.pop()][::-1]),
    b"u": lambda m: m.update(m.pop_to_mark()),
    b"\x8f": lambda m: m.push(set()),
    b"\x90": lambda m: m.add(m.pop_to_mark()),
    b"\x91": lambda m: m.push(frozenset(map(key, m.pop_to_mark()))),
    # the memo
    b"g": lambda m: m.get(int(m.line())),
    b"h": lambda m: m.get(m.number("<B")),
    b"j": lambda m: m.get(m.number("<I")),
    b"p": lambda m: m.put(int(m.line())),
    b"q": lambda m: m.put(m.number("<B")),
    b"r": lambda m: m.put(m.number("<I")),
    b"\x94": Machine.put,
    # names and what is made with them
    b"c": lambda m: m.find(_ascii(m.line()), _ascii(m.line())),
    b"\x93": _found,
    b"R": Machine.call,
    b"b": Machine.build,
}
