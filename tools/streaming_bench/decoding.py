"""What decoding alone takes: the files of real plans, held in memory, into a buffer."""

import importlib
import io
from collections.abc import Callable

import numpy as np

import episodes
from episodes import images as codec
from streaming_bench.task import Delivery, Feed, Skipped, Task, ThreadBuffer, in_threads

PLANS = 20
JPEG = b"\xff\xd8"


def library(task: Task, threads: int) -> Feed:
    """`episodes.images.decode`."""
    channels = episodes.open(task.store).info.channels

    def decode(encoded: bytes, out: np.ndarray) -> None:
        out[...] = codec.decode(encoded, "of the benchmark", channels)

    return _feed(task, threads, decode)


def pillow(task: Task, threads: int) -> Feed:
    """Pillow, as shortly as one can ask it."""
    from PIL import Image

    mode = {1: "L", 3: "RGB"}[episodes.open(task.store).info.channels]

    def decode(encoded: bytes, out: np.ndarray) -> None:
        with Image.open(io.BytesIO(encoded)) as image:
            out[...] = np.asarray(image.convert(mode)).reshape(out.shape)

    return _feed(task, threads, decode)


def simplejpeg(task: Task, threads: int) -> Feed:
    """simplejpeg, straight into the buffer."""
    decoder = importlib.import_module("simplejpeg")
    store = episodes.open(task.store)
    if not store.encoded(0).startswith(JPEG):
        raise Skipped("the images are no JPEGs")
    colours = {1: "GRAY", 3: "RGB"}[store.info.channels]

    def decode(encoded: bytes, out: np.ndarray) -> None:
        decoder.decode_jpeg(encoded, colours, buffer=out)

    return _feed(task, threads, decode)


def _feed(task: Task, threads: int, decode: Callable[[bytes, np.ndarray], None]) -> Feed:
    store = episodes.open(task.store)
    stream = store.stream(task.split, task.way, task.shot, task.query, task.seed)
    plans = stream.plans(0, PLANS)
    rows = np.concatenate((plans.support_rows, plans.query_rows), axis=1)
    files = [[store.encoded(row) for row in chosen] for chosen in rows.tolist()]
    buffer = ThreadBuffer((task.images, *store.image_shape))

    def work(job: int) -> Delivery:
        out = buffer.array
        for encoded, place in zip(files[job], out, strict=True):
            decode(encoded, place)
        return (out,)

    (decoded,) = work(0)
    if not np.array_equal(decoded, store.images(rows[0])):
        raise RuntimeError("the decoder gave other pixels than the store")
    return lambda: in_threads(work, len(files), threads)
