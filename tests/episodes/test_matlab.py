"""MATLAB 5 files: those that SciPy writes, those that the layouts write, and damage."""

import base64
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from episodes.errors import EpisodesError
from episodes.readers.matlab import matrix
from tests.episodes.layouts.flowers import mat_file

# scipy.io.savemat (1.17.1), compressed: other = [[0., 1., 2.]], labels = uint8 [[77, 77, 3, ...]].
COMPRESSED = (
    "O+i#lK|&xkE-)ZXK~ybfX>4U6P;6mzW^ZzBIv{Xwb7^=iAVYFxVRU6=Aa8CuAX8y<AWm;~ATlu^F*Z6eGdeLdATls"
    "AHUIzs00000000000000000000000000000000000000000000000000000000000000Bu&4*&oFFaQ7mc%0*7U|<L"
    "UVm2V=fYKnq3gt5bF*B3~iRG7Mq!s~bP9T<GKnEY}p$rEAiv$Eb4*&oFF#rGnc%0*7U|?_nVm2V=0AfxC2w;Ws8KH7"
    "8IwvtHHK&+?feFg@^<_?D)Ma1*09vyIEd"
)
# The same, not compressed: ab = int16 [[1, -2, 3], [4, 5, -600]].
PLAIN = (
    "O+i#lK|&xkE-)ZXK~ybfX>4U6P;6mzW^ZzBIv{Xwb7^=iAVYFxVRU6=Aa8CuAX8y<AWm;~ATlu^F*Z6eGdeLdATls"
    "AHUIzs00000000000000000000000000000000000000000000000000000000000000Bu&4gdfEKmY&$1^@s62mk;"
    "83IG5A000001poj52mk;80ssI20{{R30RRF3VPXIP0{{R33;+NC0RRL5{{IC40|2P~00000"
)


def test_reads_what_scipy_writes() -> None:
    labels = matrix(base64.b85decode(COMPRESSED), "labels", "it")
    assert labels.dtype == np.uint8 and labels.tolist() == [[77, 77, 3, 102, 1, 45]]
    assert matrix(base64.b85decode(COMPRESSED), "other", "it").tolist() == [[0.0, 1.0, 2.0]]
    plain = matrix(base64.b85decode(PLAIN), "ab", "it")
    assert plain.dtype == np.int16 and plain.tolist() == [[1, -2, 3], [4, 5, -600]]


@pytest.mark.parametrize("level", [None, 0, 6])
def test_reads_what_the_layouts_write(level: int | None) -> None:
    rows = [("a", [1, 2]), ("labels", list(range(1, 103)) * 3), ("abc", [3])]
    for name, numbers in rows:
        assert matrix(mat_file(rows, level), name, "it").tolist() == [numbers]


def test_reads_files_of_big_endian_machines() -> None:
    parts = struct.pack(
        ">IIII IIii HH4s II3h2x", 6, 8, 10, 0, 5, 8, 1, 3, 1, 1, b"a", 3, 6, 7, -8, 9
    )
    encoded = bytes(124) + b"\x01\x00MI" + struct.pack(">II", 14, len(parts)) + parts
    # A small element's tag is one word, of which the upper half is the length.
    encoded = encoded.replace(
        struct.pack(">HH", 1, 1) + b"a", struct.pack(">I", 1 << 16 | 1) + b"a"
    )
    assert matrix(encoded, "a", "it").tolist() == [[7, -8, 9]]


def test_absent_matrix_is_named() -> None:
    with pytest.raises(EpisodesError, match="^labels.mat has no matrix called 'trnid': fetch"):
        matrix(mat_file([("labels", [1])]), "trnid", "labels.mat")


def bomb() -> bytes:
    zeros = zlib.compress(bytes(1 << 27))
    return mat_file([]) + struct.pack("<II", 15, len(zeros)) + zeros


@pytest.mark.parametrize(
    "encoded",
    [
        b"",
        b"<html>",
        mat_file([])[:-2] + b"II",
        mat_file([])[:-4] + b"\x00\x02IM",
        mat_file([("labels", [1, 2])])[:-3],
        mat_file([("labels", [1, 2])], None)[:-3],
        mat_file([("labels", [1, 2])], None).replace(b"\x06\0\0\0\0\0\0\0", b"\x04\0\0\0\0\0\0\0"),
        bomb(),
    ],
    ids=["empty", "page", "order", "version", "cut", "cut plain", "text", "bomb"],
)
def test_what_is_no_whole_file_of_numbers_is_told_in_one_line(encoded: bytes) -> None:
    with pytest.raises(EpisodesError, match="^it is no whole MATLAB 5 file of numbers: fetch"):
        matrix(encoded, "labels", "it")


@given(at=st.integers(0, 240), value=st.integers(0, 255), plain=st.booleans())
def test_damage_is_read_or_told(at: int, value: int, plain: bool) -> None:
    encoded = bytearray(mat_file([("labels", [1, 2, 3])], None if plain else 6))
    encoded[at % len(encoded)] = value
    try:
        found = matrix(bytes(encoded), "labels", "it")
    except EpisodesError as error:
        assert "\n" not in str(error)
    else:
        assert found.size == 3
