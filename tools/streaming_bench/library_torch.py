"""This library under PyTorch."""

from collections.abc import Iterator

import torch

from episodes.adapters.torch import EpisodeIterable
from streaming_bench.library import opened
from streaming_bench.task import Delivery, Feed, Task, batch_size


def iterable(task: Task, threads: int) -> Feed:
    """`EpisodeIterable` under a DataLoader without workers."""
    store, stream = opened(task)
    size = batch_size(task, store.image_shape)

    def feed() -> Iterator[Delivery]:
        dataset = EpisodeIterable(stream, size, threads=threads)
        for tensors in torch.utils.data.DataLoader(dataset, batch_size=None):
            yield tensors["support_images"], tensors["query_images"]

    return feed
