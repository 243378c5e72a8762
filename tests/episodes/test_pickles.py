"""Pickles of Python 2 and 3, hostile ones, damaged ones, and one that is larger than memory."""

import collections
import io
import os
import pickle
import random
import re
import resource
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from episodes.errors import EpisodesError
from episodes.pickles import byte_strings, restricted_load

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.complex_numbers(allow_nan=False)
    | st.text()
    | st.binary()
)
keys = scalars | st.tuples(st.text(), st.integers())
plain_data = st.recursive(
    scalars | st.sets(keys) | st.frozensets(keys) | st.binary().map(bytearray),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(keys, inner)
        | st.dictionaries(keys, inner).map(collections.OrderedDict)
    ),
    max_leaves=20,
)


def load(content: bytes) -> Any:
    return restricted_load(io.BytesIO(content), "x.pkl")


def told(content: bytes) -> str:
    """The line in which a pickle is refused, by both ways to read it."""
    lines = []
    for read in (restricted_load, lambda stream, name: list(byte_strings(stream, name))):
        with pytest.raises(EpisodesError, match="^x.pkl ") as caught:
            read(io.BytesIO(content), "x.pkl")
        lines.append(str(caught.value))
        assert "\n" not in lines[-1] and len(lines[-1]) < 400
    return lines[0]


@settings(max_examples=150, deadline=None)
@given(plain_data, st.sampled_from(PROTOCOLS))
def test_plain_data_is_what_pickle_makes_of_it(value: Any, protocol: int) -> None:
    content = pickle.dumps(value, protocol)
    assert load(content) == pickle.loads(content)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_arrays_are_what_pickle_makes_of_them(protocol: int) -> None:
    arrays = [
        np.arange(24, dtype=code).reshape(2, 3, 4)
        for code in ("u1", "i1", "<i2", ">u4", "i8", "f2", "<f4", ">f8", "c16")
    ]
    arrays += [np.array([[True, False]]), np.array(["one", "zwölf"]), np.array([b"a", b"bc"])]
    arrays += [arrays[0].T, np.zeros((0, 3), np.uint8), np.array(7), np.asfortranarray(arrays[3])]
    value = {"arrays": arrays, "scalar": np.float32(0.1), "text": np.str_("é")}
    content = pickle.dumps(value, protocol)
    loaded, expected = load(content), pickle.loads(content)
    for ours, theirs in zip(loaded.pop("arrays"), expected.pop("arrays"), strict=True):
        assert type(ours) is np.ndarray
        assert ours.dtype.newbyteorder("=") == theirs.dtype.newbyteorder("=")
        np.testing.assert_array_equal(ours, theirs)
    assert loaded == expected
    assert [type(value) for value in loaded.values()] == [np.float32, np.str_]


def python2_str(content: bytes) -> bytes:
    if len(content) < 256:
        return b"U" + bytes([len(content)]) + content
    return b"T" + struct.pack("<i", len(content)) + content


def python2_tuple(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def python2_int(number: int) -> bytes:
    return b"J" + struct.pack("<i", number)


def python2_array(array: np.ndarray, code: bytes = b"u1", flags: int = 0) -> bytes:
    """As Python 2's cPickle writes it with protocol 2, without its memo."""
    dtype = (
        b"cnumpy\ndtype\n" + python2_str(code) + b"K\x00K\x01\x87R(K\x03U\x01|NNN"
        b"J\xff\xff\xff\xffJ\xff\xff\xff\xff" + python2_int(flags) + b"tb"
    )
    shape = python2_tuple(*map(python2_int, array.shape))
    return (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        + python2_tuple(b"K\x01", shape, dtype, b"\x89", python2_str(array.tobytes()))
        + b"b"
    )


def test_a_python_2_pickle_of_a_cache() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3), np.uint8)
    content = (
        b"\x80\x02}q\x01(U\nimage_dataq\x02" + python2_array(images) + b"q\x03"
        b"U\nclass_dictq\x04}q\x05(U\tn01532829q\x06]q\x07(K\x00K\x01eU\x03\xe9\x00xq\x08]q\x09K\x02auu."
    )
    loaded = load(content)
    assert loaded["class_dict"] == {"n01532829": [0, 1], "é\0x": [2]}
    np.testing.assert_array_equal(loaded["image_data"], images)
    assert not loaded["image_data"].flags.writeable


def test_a_python_2_pickle_of_protocol_0() -> None:
    content = (
        b"(dp1\nS'labels'\np2\n(lp3\nI7\naI01\naL12345678901234567890L\naF0.5\na"
        b"sS'it\\'s \\xff'\np4\nVn\\u00e9\nsg4\ng2\ns."
    )
    expected = {"labels": [7, True, 12345678901234567890, 0.5], "it's ÿ": "labels"}
    assert load(content) == expected == pickle.loads(content, encoding="latin1")
    images = [b"\x89PNG one", b"it's\n\x00"]
    listed = b"(lp0\n" + b"".join(b"S" + repr(i)[1:].encode() + b"\na" for i in images) + b"."
    assert list(byte_strings(io.BytesIO(listed), "x")) == images


class Wants:
    """Pickles itself as a call."""

    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call[0], self.call[1:]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_nothing_that_a_pickle_names_is_run(protocol: int, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    calls = {
        "system": Wants(os.system, f"touch {trace}"),
        "eval": Wants(eval, f"open({str(trace)!r}, 'w')"),
        "getattr": Wants(getattr, [], "append"),
        "Popen": Wants(subprocess.Popen, ["touch", str(trace)]),
        "fromfile": Wants(np.fromfile, "/etc/passwd"),
    }
    for name, call in calls.items():
        line = told(pickle.dumps([call], protocol))
        assert re.fullmatch(rf"x.pkl wants to run \w+\.{name}: do not trust this file", line)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (b"cos\nsystem\n(S'true'\ntR.", "os.system"),
        (b"cbuiltins\nlist.append\n.", "builtins.list.append"),
        (b"\x80\x04\x8c\x08builtins\x8c\x0elist.__class__\x93.", "builtins.list.__class__"),
        (b"cnumpy\nload\n.", "numpy.load"),
        (b"cnumpy.core.multiarray\nfromfile\n.", "numpy.core.multiarray.fromfile"),
        (b"cos\x1b\rx\nsystem\n.", "os\\x1b\\rx.system"),
    ],
)
def test_the_forbidden_name_is_told(content: bytes, wanted: str) -> None:
    assert told(content) == f"x.pkl wants to run {wanted}: do not trust this file"


def dictionary_bomb() -> bytes:
    """A tuple of itself twice, 60 levels deep, as a key: its hash has 2**60 parts."""
    return b"}(K\x01" + b"2\x86" * 60 + b"K\x01u."


ARRAY = np.arange(8, dtype=np.uint8)
SHAPE_OF_ARRAY = python2_tuple(python2_int(8))
HOSTILE = {
    "persistent id": b"P1\n.",
    "binary persistent id": b"\x80\x02K\x01Q.",
    "extension": b"\x80\x02\x82\x01.",
    "instance": b"(ios\nsystem\n.",
    "object": b"(cbuiltins\nlist\no.",
    "new object": b"\x80\x02cbuiltins\nlist\n)\x81.",
    "buffer out of band": b"\x80\x05\x97.",
    "state for a list": b"\x80\x02]}b.",
    "call of a list": b"\x80\x02])R.",
    "ndarray made otherwise": b"\x80\x02cnumpy\nndarray\nK\x05\x85R.",
    "array of objects": b"\x80\x02" + python2_array(ARRAY, b"O8") + b".",
    "array of objects said to be numbers": b"\x80\x02" + python2_array(ARRAY, b"|O", 0) + b".",
    "array of records": b"\x80\x02" + python2_array(ARRAY, b"V8") + b".",
    "array of dates": b"\x80\x02" + python2_array(ARRAY, b"M8") + b".",
    "array too short": b"\x80\x02" + python2_array(ARRAY, b"u2") + b".",
    "array of 40 dimensions": b"\x80\x02"
    + python2_array(ARRAY).replace(SHAPE_OF_ARRAY, python2_tuple(python2_int(8), *[b"K\x01"] * 39))
    + b".",
    "array without numbers": b"\x80\x02]cnumpy.core.multiarray\n_reconstruct\n)Ra.",
    "text beyond Unicode": b"\x80\x02" + python2_array(np.full(4, 255, np.uint8), b"U1") + b".",
    "records in the dtype's state": b"\x80\x02cnumpy\ndtype\nU\x02u1\x85R(K\x03U\x01|NU\x01a}tb.",
    "a terabyte of zeros": b"\x80\x02cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R.",
    "a long string that is not there": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 60) + b"short.",
    "a long text that is not there": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 60) + b"short.",
    "a negative length": b"\x80\x02T\xff\xff\xff\xff.",
    "an integer of a gigabyte": b"\x80\x02\x8b\xff\xff\xff\x3f.",
    "a wrong reference": b"\x80\x02h\x05.",
    "a frame of nothing": b"\x80\x04\x95",
    "a key that takes forever": dictionary_bomb(),
    "a list as a key": b"\x80\x02}]K\x01s.",
    "other bytes": b"<!DOCTYPE html>",
    "nothing": b"",
    "only an end": b".",
    "no end": b"\x80\x02]",
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_pickles_are_refused_in_one_line(case: str) -> None:
    assert "cannot be read as a pickle of plain data (" in told(HOSTILE[case])


def test_a_damaged_index_takes_no_memory() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert load(b"\x80\x02]r\xff\xff\xff\x7f(K\x01K\x02e.") == [1, 2]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 16


def test_a_deep_nest_is_no_stack_overflow() -> None:
    value, depth = load(b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"."), 0
    while value:
        value, depth = value[0], depth + 1
    assert depth == 99_999


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_large_array_is_kept_in_a_temporary_file(
    protocol: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.arange(17 << 20, dtype=np.uint32).view(np.uint8)[: 17 << 20].reshape(17, -1)
    content = b"\x80\x02" + python2_array(pixels) + b"."
    if protocol > 2:
        content = pickle.dumps(pixels, protocol)
    np.testing.assert_array_equal(load(content), pixels)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    try:
        with pytest.raises(EpisodesError, match=f"bytes of x.pkl in {tmp_path}: .*in TMPDIR"):
            load(content)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_images_come_one_by_one_in_each_form() -> None:
    images = [bytes([number % 256]) * (number * 7 + 20) for number in range(2500)]
    flat = [np.frombuffer(image, np.uint8) for image in images]
    columns = [array.reshape(-1, 1) for array in flat]
    for listed in (images, flat, columns):
        for protocol in (2, 3, 4, 5):
            stream = io.BytesIO(pickle.dumps(listed, protocol))
            assert list(byte_strings(stream, "x")) == images
    python2 = b"".join(map(python2_array, columns[:1000]))
    python2 = b"\x80\x02](" + python2 + b"e" + b"(" + python2_str(images[1000]) + b"e."
    assert list(byte_strings(io.BytesIO(python2), "x")) == images[:1001]
    assert list(byte_strings(io.BytesIO(b"\x80\x02]."), "x")) == []


def test_what_is_no_list_of_images_is_told() -> None:
    for value, what in [
        ({"a": b"1"}, "a dict, not a list of images"),
        ([1, 2], "a int where an encoded image was expected"),
        ([np.zeros(3)], "a ndarray where an encoded image was expected"),
    ]:
        with pytest.raises(EpisodesError, match=what):
            list(byte_strings(io.BytesIO(pickle.dumps(value)), "x"))


def test_an_image_may_be_listed_twice_but_not_far_apart() -> None:
    image = np.arange(99, dtype=np.uint8)
    near = [image, image]
    assert list(byte_strings(io.BytesIO(pickle.dumps(near)), "x")) == [image.tobytes()] * 2
    far = [image, *(np.zeros(20, np.uint8) for _ in range(1500)), image]
    with pytest.raises(EpisodesError, match="a reference to the value .*, which is not there"):
        list(byte_strings(io.BytesIO(pickle.dumps(far)), "x"))


def damaged(content: bytes, chance: random.Random) -> bytes:
    """`content` cut, overwritten, shortened, lengthened or blanked somewhere."""
    start, length = chance.randrange(len(content)), chance.randint(1, 60)
    before, after = content[:start], content[start:]
    return chance.choice(
        [
            before,
            before + chance.randbytes(1) + after[1:],
            before + after[length:],
            before + chance.randbytes(length) + after,
            before + bytes(min(length, len(after))) + after[length:],
        ]
    )


def test_random_damage_ends_in_one_line_or_does_no_harm() -> None:
    chance = random.Random(0)
    images = [np.frombuffer(chance.randbytes(90), np.uint8).reshape(-1, 1) for _ in range(12)]
    value = {"data": np.arange(60).reshape(3, 20), "labels": list(range(40)), "names": ["a", "é"]}
    whole = [pickle.dumps(kind, protocol) for kind in (images, value) for protocol in PROTOCOLS]
    whole.append(b"\x80\x02](" + b"".join(map(python2_array, images)) + b"e.")
    refused = 0
    for _ in range(1500):
        content = damaged(chance.choice(whole), chance)
        for read in (restricted_load, lambda stream, name: list(byte_strings(stream, name))):
            try:
                read(io.BytesIO(content), "x")
            except EpisodesError as error:
                assert "\n" not in str(error) and len(str(error)) < 400
                refused += 1
    assert refused > 1500


class Stream(io.RawIOBase):
    """A pickled list of `images` arrays of 15 KB as Python 2 wrote it, made as it is read.

    Each array is memoized, as by any pickler, though nothing refers to it again.
    """

    def __init__(self, images: int) -> None:
        self.pieces = self.opcodes(images)
        self.rest = memoryview(b"")

    def opcodes(self, images: int) -> Iterator[bytes]:
        image = python2_array(np.arange(15_000, dtype=np.uint16).astype(np.uint8).reshape(-1, 1))
        yield b"\x80\x02]q\x00"
        for first in range(0, images, 1000):
            yield b"("
            for number in range(first, first + 1000):
                yield image
                yield b"r" + struct.pack("<I", number + 1)
            yield b"e"
        yield b"."

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self.rest = self.rest or memoryview(next(self.pieces, b""))
        piece = self.rest[: len(buffer)]
        buffer[: len(piece)] = piece
        self.rest = self.rest[len(piece) :]
        return len(piece)


@pytest.mark.parametrize("images", [10_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_memory_does_not_grow_with_the_list(images: int) -> None:
    result = subprocess.run(
        [sys.executable, __file__, str(images)], check=True, capture_output=True, text=True
    )
    read, grown = map(int, result.stdout.split())
    assert read == images * 15_000
    assert grown < 64 << 20


if __name__ == "__main__":
    stream = io.BufferedReader(Stream(int(sys.argv[1])))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    read = sum(map(len, byte_strings(stream, "synthetic")))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(read, grown * (1 if sys.platform == "darwin" else 1024))
