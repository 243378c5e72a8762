"""This library's own ways to episodes."""

from itertools import count

import episodes
from episodes.episode import Episode, EpisodeBatch
from episodes.store import Store
from episodes.stream import Stream
from streaming_bench.task import Delivery, Feed, Task, batch_size


def batches(task: Task, threads: int) -> Feed:
    """`stream.batches(size, threads=threads)`: threads beside the caller's."""
    store, stream = opened(task)
    size = batch_size(task, store.image_shape)
    return lambda: map(arrays, stream.batches(size, threads=threads))


def loader(task: Task, threads: int) -> Feed:
    """`stream.loader(size, threads=threads)`."""
    store, stream = opened(task)
    size = batch_size(task, store.image_shape)
    return lambda: map(arrays, stream.loader(size, threads=threads))


def single(task: Task, threads: int) -> Feed:
    """`stream.iterate(threads=threads)`: episode by episode."""
    _, stream = opened(task)
    return lambda: map(arrays, stream.iterate(threads=threads))


def item(task: Task, threads: int) -> Feed:
    """`stream[i]` for i = 0, 1, 2, ..."""
    _, stream = opened(task)
    return lambda: (arrays(stream[index]) for index in count())


def opened(task: Task) -> tuple[Store, Stream]:
    """The task's store and stream."""
    store = episodes.open(task.store)
    return store, store.stream(task.split, task.way, task.shot, task.query, task.seed)


def arrays(given: Episode | EpisodeBatch) -> Delivery:
    """The images of an episode or a batch."""
    return given.support_images, given.query_images
