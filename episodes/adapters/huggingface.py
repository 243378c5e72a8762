"""Hugging Face `datasets`: episodes as an `IterableDataset`."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from episodes.adapters import arrays, framework
from episodes.errors import UsageError
from episodes.stream import Stream

if TYPE_CHECKING:
    from datasets import IterableDataset


def dataset(
    stream: Stream, *, start: int = 0, stop: int | None = None, shards: int = 1
) -> "IterableDataset":
    """Episodes `start` to before `stop`, without end if that is None, a row each.

    Images are 4-d arrays of uint8 [n, H, W, C], labels lists. Of several `shards`, which
    `datasets` deals out to the workers of a DataLoader and to nodes, shard k has every `shards`-th
    episode from start + k; read by one process, they come one after the other. The state of the
    data set counts rows, and rows before it are read again: a far place is nearer by `start`.
    Raises UsageError for several shards without `stop` or of a share.
    """
    datasets = framework("datasets", "datasets")
    if shards < 1 or (shards > 1 and (stop is None or stream.world > 1)):
        raise UsageError(f"{shards} shards of {stream!r} to {stop}: shards need a whole and a stop")
    spec = stream.spec

    def images(size: int) -> object:
        return datasets.Array4D((size, *stream.image_shape), "uint8")

    def numbers(size: int) -> object:
        return datasets.Sequence(datasets.Value("int64"), length=size)

    features = {
        "support_images": images(spec.support_size),
        "support_labels": numbers(spec.support_size),
        "query_images": images(spec.query_size),
        "query_labels": numbers(spec.query_size),
        "class_ids": numbers(spec.way),
        "index": datasets.Value("int64"),
        "source": datasets.Value("int64"),
    }
    return datasets.IterableDataset.from_generator(
        _rows,
        features=datasets.Features(features),
        gen_kwargs={
            "stream": stream,
            "start": start,
            "stop": stop,
            "world": shards,
            "ranks": list(range(shards)),
        },
    )


def _rows(
    stream: Stream, start: int, stop: int | None, world: int, ranks: list[int]
) -> Iterator[dict[str, np.ndarray | int]]:
    """The episodes of some shards; `datasets` deals out what stands in a list."""
    for rank in ranks:
        share = stream if world == 1 else stream.shard(rank, world)
        for episode in share.loader(start=start, stop=stop):
            row = arrays(episode)
            yield row | {name: int(row[name]) for name in ("index", "source")}
