"""tf.Example messages: named features, each a list of bytes, of floats or of whole numbers.

Example.features = 1; Features.feature = 1, a map (key = 1, value = 2); Feature is one of
bytes_list = 1, float_list = 2, int64_list = 3; each list is `repeated value = 1`. Numbers are
written packed and read both ways; unknown fields are passed over.
"""

import struct
from collections.abc import Iterator, Mapping

Feature = list[bytes] | list[float] | list[int]

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
WIDTH = {FIXED64: 8, FIXED32: 4}
BYTES_LIST, FLOAT_LIST, INT64_LIST = 1, 2, 3
LIST_OF = {bytes: BYTES_LIST, float: FLOAT_LIST, int: INT64_LIST}
LONGEST_VARINT = 10


def parse_example(message: bytes | memoryview) -> dict[str, Feature]:
    """The features of a serialized tf.Example by name; raises ValueError for what is none."""
    features: dict[str, Feature] = {}
    for entries in _parts(memoryview(message), 1):
        for entry in _parts(entries, 1):
            name, feature = "", memoryview(b"")
            for number, value in _fields(entry):
                if number == 1:
                    name = bytes(_bytes(value)).decode()
                elif number == 2:
                    feature = _bytes(value)
            features[name] = _feature(feature)
    return features


def encode_example(features: Mapping[str, Feature]) -> bytes:
    """The features, each a list of bytes, floats or ints, as a tf.Example, in their order."""
    entries = [
        _field(1, _field(1, name.encode()) + _field(2, _encoded_feature(values)))
        for name, values in features.items()
    ]
    return _field(1, b"".join(entries))


def _feature(message: memoryview) -> Feature:
    values: list = []
    kind = 0
    for number, part in _fields(message):
        if number not in LIST_OF.values():
            continue
        if number != kind:  # of a oneof, the last one counts
            kind, values = number, []
        for inner, value in _fields(_bytes(part)):
            if inner == 1:
                values += _values(kind, value)
    return values


def _values(kind: int, value: int | memoryview) -> Feature:
    """What one `value` field holds: one value, or packed numbers."""
    if kind == BYTES_LIST:
        return [bytes(_bytes(value))]
    if kind == INT64_LIST:
        if isinstance(value, int):
            return [_signed(value)]
        numbers, at = [], 0
        while at < len(value):
            number, at = _varint(value, at)
            numbers.append(_signed(number))
        return numbers
    floats = _bytes(value)
    if len(floats) % 4:
        raise ValueError(f"{len(floats)} bytes are no packed floats")
    return list(struct.unpack(f"<{len(floats) // 4}f", floats))


def _parts(message: memoryview, wanted: int) -> Iterator[memoryview]:
    """The fields of that number, which must be of bytes."""
    for number, value in _fields(message):
        if number == wanted:
            yield _bytes(value)


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """The number and the value of every field: an int of a varint, else its bytes."""
    at, end = 0, len(message)
    while at < end:
        tag, at = _varint(message, at)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == VARINT:
            value, at = _varint(message, at)
            yield number, value
            continue
        if wire_type == BYTES:
            length, at = _varint(message, at)
        elif wire_type in WIDTH:
            length = WIDTH[wire_type]
        else:
            raise ValueError(f"the wire type {wire_type} is not known")
        if length > end - at:
            raise ValueError(f"a field of {length} bytes has only {end - at}")
        yield number, message[at : at + length]
        at += length


def _bytes(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a field of bytes holds a number")
    return value


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """The whole number at byte `at`, and where it ends."""
    number = shift = 0
    for byte in message[at : at + LONGEST_VARINT]:
        number |= (byte & 0x7F) << shift
        at += 1
        shift += 7
        if byte < 0x80:
            return number & 0xFFFFFFFFFFFFFFFF, at
    raise ValueError("a number does not end")


def _signed(number: int) -> int:
    return number - (1 << 64) if number >> 63 else number


def _encoded_feature(values: Feature) -> bytes:
    kinds = {type(value) for value in values}
    if len(kinds) != 1 or not kinds <= LIST_OF.keys():
        raise ValueError(f"a feature is {values!r}; expected a list of bytes, of floats or of ints")
    number = LIST_OF[kinds.pop()]
    if number == BYTES_LIST:
        content = b"".join(_field(1, value) for value in values if isinstance(value, bytes))
    elif number == FLOAT_LIST:
        content = _field(1, struct.pack(f"<{len(values)}f", *values))
    else:
        content = _field(1, b"".join(_encoded_varint(int(value)) for value in values))
    return _field(number, content)


def _field(number: int, content: bytes) -> bytes:
    return _encoded_varint(number << 3 | BYTES) + _encoded_varint(len(content)) + content


def _encoded_varint(number: int) -> bytes:
    if not -(1 << 63) <= number < 1 << 63:
        raise ValueError(f"{number} is outside of 64 bits")
    number &= 0xFFFFFFFFFFFFFFFF
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
