"""The tasks of a run: one stream for training, one for validation, one for the test."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from episodes import EpisodeBatch, Stream
from episodes.adapters.torch import DeviceStream, on_device
from episodes.errors import UsageError
from trainers import machine
from trainers.class_counts import check_ways
from trainers.config import RunConfig, Shape
from trainers.sources import Source, StoreSource, TaskStream
from trainers.tasks import RegressionBatch

PART_OF_FREE_MEMORY = 4
"""One of so many parts of a device's free memory may hold images: training needs the others."""


@dataclass(frozen=True)
class Streams:
    """Training tasks by the training seed; fixed validation and test tasks by the episode seed.

    `validation` is None where the split scheme has no validation tasks, or the run wants none.
    """

    training: TaskStream
    validation: TaskStream | None
    test: TaskStream


class RandomShots:
    """Streams of 1, 2, ... shots, of which each batch takes one: uniformly, by the seed and the
    batch's first index.

    All tasks of a batch have one shot, so a run must always ask for the same batches.
    """

    def __init__(self, by_shot: Sequence[TaskStream]) -> None:
        self.split, self.seed = by_shot[0].split, by_shot[0].seed
        self._by_shot = by_shot

    def shot(self, start: int) -> int:
        """The shot of the batch that starts at this index."""
        digest = hashlib.sha256(f"shot/1 {self.seed} {start}".encode()).digest()
        return 1 + int.from_bytes(digest[:8], "little") % len(self._by_shot)

    def batch(self, start: int, size: int) -> EpisodeBatch | RegressionBatch:
        """`size` tasks from `start`."""
        return self._by_shot[self.shot(start) - 1].batch(start, size)

    def batches(self, size: int, start: int = 0, stop: int | None = None) -> Iterator[Any]:
        """As a stream's."""
        while stop is None or start < stop:
            end = start + size if stop is None else min(start + size, stop)
            yield self.batch(start, end - start)
            start = end

    def fingerprint(self, count: int) -> str:
        """The hash of the streams' fingerprints."""
        told = " ".join(stream.fingerprint(count) for stream in self._by_shot)
        return hashlib.sha256(told.encode()).hexdigest()


def with_images_on(device: str, stream: TaskStream) -> TaskStream | DeviceStream:
    """The stream, its images on a GPU of NVIDIA's where they have room, so that only row numbers
    cross; else, and of tasks that are not episodes of one shape, as it is."""
    free = machine.free_bytes(device) if device == "cuda" else None
    if free is None or not isinstance(stream, Stream):
        return stream
    try:
        return on_device(stream, device, limit=free // PART_OF_FREE_MEMORY)
    except UsageError:
        return stream


def open_streams(source: Source, config: RunConfig) -> Streams:
    """The streams of a run; raises UsageError where a split cannot give such tasks."""

    def fixed(part: str) -> TaskStream:
        split = f"{config.split}.{part}"
        return source.stream(split, config.shape, config.episode_seed)

    def training(shape: Shape) -> TaskStream:
        return source.stream(f"{config.split}.train", shape, config.seed)

    if isinstance(source, StoreSource):
        check_ways(source.stores[0], config)
    shape = config.training_shape
    trained = training(shape)
    if config.random_shots and shape.shot is not None:
        shots = range(1, shape.shot + 1)
        trained = RandomShots([training(shape._replace(shot=shot)) for shot in shots])
    validates = config.val_episodes > 0 and source.has(f"{config.split}.val")
    return Streams(trained, fixed("val") if validates else None, fixed("test"))
