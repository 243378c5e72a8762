"""TFRecord files and the tf.Example messages in them, without TensorFlow and without protobuf."""

from episodes.tfrecord.crc32c import crc32c, masked
from episodes.tfrecord.example import Feature, encode_example, parse_example
from episodes.tfrecord.framing import Record, framed, read_records

__all__ = [
    "Feature",
    "Record",
    "crc32c",
    "encode_example",
    "framed",
    "masked",
    "parse_example",
    "read_records",
]
