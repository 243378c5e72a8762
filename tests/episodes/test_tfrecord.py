"""TFRecord files and tf.Examples, against published vectors and a plain writer."""

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from episodes.errors import EpisodesError
from episodes.tfrecord import (
    crc32c,
    encode_example,
    framed,
    masked,
    parse_example,
    read_records,
)
from tests.episodes.plain_records import (
    entry,
    example,
    field,
    frame,
    image_feature,
    label_feature,
    plain_crc32c,
    varint,
)

# One record with the image ff d8 "abc" and the label 7; its checksums are TensorBoard's, its
# message google.protobuf's.
VECTOR = bytes.fromhex(
    "2600000000000000734fe3000a240a120a05696d61676512090a070a05ffd8616263"
    "0a0e0a056c6162656c12051a030a0107da78e797"
)
FEATURES = {"image": [b"\xff\xd8abc"], "label": [7]}


def crc_of(data: bytes) -> int:
    return int(crc32c(data, np.array([0]), np.array([len(data)]))[0])


# The first is CRC catalogues' check value, the others are RFC 3720's (B.4).
@pytest.mark.parametrize(
    ("data", "crc"),
    [
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
        (b"", 0),
    ],
)
def test_crc_of_published_vectors(data: bytes, crc: int) -> None:
    assert crc_of(data) == crc == plain_crc32c(data)


def test_mask_of_a_published_crc() -> None:
    assert masked(np.array([0xE3069283], np.uint32)).tolist() == [0xC78AB0E5]


@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_crcs_of_pieces_anywhere_are_the_bytewise_ones(data: st.DataObject) -> None:
    content = np.random.default_rng(data.draw(st.integers(0, 9))).bytes(3000)
    lengths = data.draw(
        st.lists(st.sampled_from([0, 1, 3, 4, 7, 8, 255, 256, 257, 512, 700, 2049]), max_size=9)
    )
    starts = [data.draw(st.integers(0, 3000 - length)) for length in lengths]
    found = crc32c(content, np.array(starts, np.int64), np.array(lengths, np.int64))
    assert found.dtype == np.uint32
    assert found.tolist() == [
        plain_crc32c(content[start : start + length])
        for start, length in zip(starts, lengths, strict=True)
    ]


def test_vector_is_written_and_read(tmp_path: Path) -> None:
    assert framed([encode_example(FEATURES)]) == VECTOR
    (tmp_path / "0.tfrecords").write_bytes(VECTOR)
    (record,) = read_records(tmp_path / "0.tfrecords")
    assert record.offset == 0
    assert parse_example(record.data) == FEATURES


def test_plain_files_are_read_and_written_alike(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    lengths = [0, 1, 255, 256, 257, 5000, 0, 70_000, *generator.integers(0, 900, 100).tolist()]
    contents = [generator.bytes(length) for length in lengths]
    frames = [frame(content) for content in contents]
    path = tmp_path / "many.tfrecords"
    path.write_bytes(b"".join(frames))
    records = list(read_records(path))
    assert [record.data.tobytes() for record in records] == contents
    assert [record.offset for record in records] == np.cumsum([0, *map(len, frames[:-1])]).tolist()
    assert framed(contents) == path.read_bytes()
    assert framed([]) == b""


def test_records_larger_than_what_is_read_at_once(tmp_path: Path) -> None:
    contents = [b"small", bytes(range(256)) * 20, b"", bytes(84), b"last"]
    path = tmp_path / "large.tfrecords"
    path.write_bytes(b"".join(map(frame, contents)))
    for at_once in (1, 12, 16, 99, 100, 101, 5000):
        assert [record.data.tobytes() for record in read_records(path, at_once)] == contents


def test_empty_file_has_no_records(tmp_path: Path) -> None:
    (tmp_path / "0.tfrecords").touch()
    assert list(read_records(tmp_path / "0.tfrecords")) == []


def test_every_flipped_byte_is_found_and_placed(tmp_path: Path) -> None:
    path = tmp_path / "7.tfrecords"
    for place in range(len(VECTOR)):
        damaged = bytearray(VECTOR * 3)
        damaged[54 + place] ^= 0x10
        path.write_bytes(damaged)
        with pytest.raises(EpisodesError) as caught:
            list(read_records(path))
        assert "7.tfrecords: record 1 at byte 54 is damaged" in str(caught.value)
        assert f"of its {'length' if place < 12 else 'data'} is" in str(caught.value)


def test_every_cut_is_found_and_placed(tmp_path: Path) -> None:
    path = tmp_path / "7.tfrecords"
    for left in range(1, len(VECTOR)):
        path.write_bytes(VECTOR + VECTOR[:left])
        expected = f"record 1 at byte 54 is cut short: the file ends {left} bytes on"
        with pytest.raises(EpisodesError, match=expected):
            list(read_records(path))


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(EpisodesError, match=r"cannot read .*5\.tfrecords: No such file"):
        list(read_records(tmp_path / "5.tfrecords"))


def test_examples_in_other_orders_and_encodings() -> None:
    unpacked = field(3, b"\x08" + varint(7) + b"\x08" + varint(-2))
    floats = field(2, b"\x0d" + struct.pack("<f", 0.5) + field(1, struct.pack("<2f", -1, 3)))
    strangers = b"\x48\x05" + b"\x51" + bytes(8) + b"\x5d" + bytes(4) + field(12, b"later")
    message = field(
        1,
        entry("label", unpacked)
        + strangers
        + entry("image", image_feature(b"old"))
        + entry("weights", floats)
        + entry("image", image_feature(b"new") + strangers)
        + entry("empty", b""),
    )
    assert parse_example(strangers + message) == {
        "label": [7, -2],
        "image": [b"new"],
        "weights": [0.5, -1.0, 3.0],
        "empty": [],
    }
    assert parse_example(b"") == {}
    # A feature is of one kind: the last that comes.
    both = field(1, entry("label", label_feature(1) + image_feature(b"x")))
    assert parse_example(both) == {"label": [b"x"]}


@pytest.mark.parametrize("label", [0, 1, 127, 128, 4933, 2**63 - 1, -1, -(2**63)])
def test_labels_are_written_as_plainly(label: int) -> None:
    written = encode_example({"image": [b"\xff\xd8" + bytes(200)], "label": [label]})
    assert written == example(b"\xff\xd8" + bytes(200), label)
    assert parse_example(written)["label"] == [label]


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ([], "expected a list"),
        ([1, b"x"], "expected a list"),
        (["text"], "expected a list"),
        ([2**63], "outside of 64 bits"),
    ],
)
def test_features_that_cannot_be_written(values: list, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        encode_example({"label": values})


def test_every_cut_message_is_refused_or_shorter() -> None:
    whole = encode_example({"image": [b"\xff\xd8abc"], "label": [7, 300], "x": [1.5]})
    assert parse_example(whole)["x"] == [1.5]
    for size in range(1, len(whole)):
        with pytest.raises(ValueError):
            parse_example(whole[:size])


@given(st.binary(max_size=80))
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_a_message_or_refused(content: bytes) -> None:
    try:
        found = parse_example(field(1, content))
    except ValueError:
        return
    assert all(isinstance(name, str) for name in found)


def test_google_protobuf_agrees() -> None:
    pytest.importorskip("google.protobuf")
    message_class = google_example()
    theirs = message_class.FromString(encode_example(FEATURES | {"w": [0.25, -2.0], "n": [-5]}))
    feature = theirs.features.feature
    assert list(feature["image"].bytes_list.value) == [b"\xff\xd8abc"]
    assert list(feature["label"].int64_list.value) == [7]
    assert list(feature["w"].float_list.value) == [0.25, -2.0]
    assert list(feature["n"].int64_list.value) == [-5]
    assert parse_example(theirs.SerializeToString()) == FEATURES | {"w": [0.25, -2.0], "n": [-5]}


def google_example() -> type:
    """The class of tf.Example, from its fields alone."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="example.proto", package="t", syntax="proto3")

    def message(name: str, parent: object = file.message_type) -> object:
        return parent.add(name=name)

    def add(owner: object, name: str, number: int, kind: int, **more: object) -> None:
        label = more.pop("label", kinds.LABEL_OPTIONAL)
        owner.field.add(name=name, number=number, type=kind, label=label, **more)

    for name, kind in (
        ("BytesList", kinds.TYPE_BYTES),
        ("FloatList", kinds.TYPE_FLOAT),
        ("Int64List", kinds.TYPE_INT64),
    ):
        add(message(name), "value", 1, kind, label=kinds.LABEL_REPEATED)
    feature = message("Feature")
    feature.oneof_decl.add(name="kind")
    for number, name in enumerate(("Bytes", "Float", "Int64"), start=1):
        add(
            feature,
            f"{name.lower()}_list",
            number,
            kinds.TYPE_MESSAGE,
            type_name=f".t.{name}List",
            oneof_index=0,
        )
    features = message("Features")
    pair = message("FeatureEntry", features.nested_type)
    pair.options.map_entry = True
    add(pair, "key", 1, kinds.TYPE_STRING)
    add(pair, "value", 2, kinds.TYPE_MESSAGE, type_name=".t.Feature")
    add(
        features,
        "feature",
        1,
        kinds.TYPE_MESSAGE,
        type_name=".t.Features.FeatureEntry",
        label=kinds.LABEL_REPEATED,
    )
    add(message("Example"), "features", 1, kinds.TYPE_MESSAGE, type_name=".t.Features")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Example"))
