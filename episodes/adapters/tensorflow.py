"""TensorFlow: episodes as a `tf.data.Dataset`."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from episodes.adapters import FIELDS, IMAGES, arrays, framework
from episodes.stream import Stream


def dataset(
    stream: Stream,
    batch_size: int | None = None,
    *,
    start: int = 0,
    stop: int | None = None,
    threads: int = 1,
) -> Any:
    """Episodes `start` to before `stop` (None: without end), in order, as dicts of tensors.

    Images are uint8 [n, H, W, C], all else int64; with a `batch_size` there is a leading axis, and
    the last batch may be smaller. Every iteration begins at `start`. Of a share,
    `stream.shard(rank, world)`, that rank's episodes: for a distribution strategy, the input
    context's `input_pipeline_id` of `num_input_pipelines`. `threads` read ahead.
    """
    tf = framework("tensorflow", "tensorflow")

    def items() -> Iterator[dict[str, np.ndarray]]:
        return map(arrays, stream.loader(batch_size, start=start, stop=stop, threads=threads))

    signature = {
        name: tf.TensorSpec(shape, tf.uint8 if name in IMAGES else tf.int64)
        for name, shape in _shapes(stream, () if batch_size is None else (None,)).items()
    }
    return tf.data.Dataset.from_generator(items, output_signature=signature)


def _shapes(stream: Stream, leading: tuple[Any, ...]) -> dict[str, tuple[Any, ...]]:
    spec = stream.spec
    shapes = (
        (spec.support_size, *stream.image_shape),
        (spec.support_size,),
        (spec.query_size, *stream.image_shape),
        (spec.query_size,),
        (spec.way,),
        (),
        (),
    )
    return {name: (*leading, *shape) for name, shape in zip(FIELDS, shapes, strict=True)}
