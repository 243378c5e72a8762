"""What every loader is asked for, and what it gives."""

import math
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np

JOBS_AHEAD = 2
BATCH_BYTES = 5_000_000
LARGEST_BATCH = 32


class Skipped(Exception):
    """A row that cannot be measured here; the message says why."""


@dataclass(frozen=True)
class Task:
    """Episodes of one shape from the store of that name, or at that path."""

    store: str
    way: int
    shot: int
    query: int
    split: str = "train"
    seed: int = 1

    @classmethod
    def parse(cls, text: str) -> "Task":
        """The task STORE:WAY:SHOT:QUERY; raises ValueError for another text."""
        store, *numbers = text.rsplit(":", 3)
        if not store or len(numbers) != 3 or not all(number.isdecimal() for number in numbers):
            raise ValueError(f"{text!r} is no task; expected STORE:WAY:SHOT:QUERY")
        way, shot, query = map(int, numbers)
        return cls(store, way, shot, query)

    @property
    def images(self) -> int:
        """The images of an episode."""
        return self.way * (self.shot + self.query)

    def __str__(self) -> str:
        return f"{self.store}, {self.way}-way {self.shot}-shot {self.query}-query"


# A delivery is a tuple of arrays whose last three axes are an image's; whatever the axes before are
# called, their product counts the images.
Delivery = tuple[Any, ...]
Feed = Callable[[], Iterator[Delivery]]


def batch_size(task: Task, image_shape: tuple[int, ...]) -> int:
    """The episodes of a batch: a power of two, 5 MB at most."""
    episode_bytes = task.images * math.prod(image_shape)
    most = max(1, min(LARGEST_BATCH, BATCH_BYTES // episode_bytes))
    return int(2 ** math.floor(math.log2(most)))


def images_in(delivery: Delivery, image_shape: tuple[int, ...]) -> int:
    """How many images there are; raises ValueError unless all have that shape [H, W, C].

    Channels may come first, which is how PyTorch has them.
    """
    height, width, channels = image_shape
    shapes = ((height, width, channels), (channels, height, width))
    for array in delivery:
        if tuple(array.shape[-3:]) not in shapes:
            raise ValueError(f"an image is {tuple(array.shape[-3:])}; expected {image_shape}")
    return sum(math.prod(array.shape[:-3]) for array in delivery)


def in_threads(work: Callable[[int], Delivery], jobs: int, threads: int) -> Iterator[Delivery]:
    """Without end, what `work(job)` gives for the jobs in turn.

    What it gives need not outlive the next call by the same thread: it is only counted.
    """
    order = cycle(range(jobs))
    if threads == 1:
        while True:
            yield work(next(order))
    with ThreadPoolExecutor(threads) as pool:
        ahead: list[Future[Delivery]] = []
        while True:
            while len(ahead) < JOBS_AHEAD * threads:
                ahead.append(pool.submit(work, next(order)))
            yield ahead.pop(0).result()


class ThreadBuffer(threading.local):
    """A buffer of `shape` for each thread that asks for it."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.array = np.ones(shape, np.uint8)
