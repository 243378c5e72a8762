"""Tasks of random images: what a benchmark needs where no dataset is prepared."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import numpy as np

from episodes import EpisodeBatch
from trainers.config import Shape
from trainers.sources import Source


@dataclass(frozen=True)
class RandomStream:
    """Tasks of random pixels, labels in order; the seed and a batch's first index say which."""

    split: str
    seed: int
    way: int
    shot: int
    query: int
    image_shape: tuple[int, int, int]

    def batch(self, start: int, size: int) -> EpisodeBatch:
        """`size` tasks from `start`."""
        random = np.random.default_rng([self.seed, start])

        def drawn(per_class: int) -> tuple[np.ndarray, np.ndarray]:
            shape = (size, self.way * per_class, *self.image_shape)
            labels = np.repeat(np.arange(self.way), per_class)
            pixels = random.integers(0, 256, shape, np.uint8)
            return pixels, np.broadcast_to(labels, (size, len(labels))).copy()

        index = np.arange(start, start + size)
        classes = np.broadcast_to(np.arange(self.way), (size, self.way)).copy()
        return EpisodeBatch(
            *drawn(self.shot), *drawn(self.query), classes, index, np.zeros(size, np.int64)
        )

    def batches(self, size: int, start: int = 0, stop: int | None = None) -> Iterator[EpisodeBatch]:
        """Batches of `size` from `start` to before `stop`."""
        starts = count(start, size) if stop is None else range(start, stop, size)
        for first in starts:
            yield self.batch(first, size if stop is None else min(size, stop - first))

    def fingerprint(self, count: int) -> str:
        """What the tasks hang on."""
        return repr(self)


class RandomSource(Source):
    """Random images of one shape."""

    is_regression = False
    default_scheme = "random"

    def __init__(self, image_size: int, channels: int) -> None:
        self.dataset = self.name = self.digest = "random"
        self.input_shape = (channels, image_size, image_size)

    def outputs(self, way: int | None) -> int:
        """One a class."""
        assert way is not None
        return way

    def stream(self, split: str, shape: Shape, seed: int) -> RandomStream:
        """The stream of a split; all are drawn alike."""
        way, shot, query = shape
        assert way is not None and shot is not None and query is not None
        channels, size, _ = self.input_shape
        return RandomStream(split, seed, way, shot, query, (size, size, channels))

    def has(self, split: str) -> bool:
        """Each has tasks without end."""
        return True
