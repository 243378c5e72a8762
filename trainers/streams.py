"""The tasks of a run: one stream for training, one for validation, one for the test."""

from dataclasses import dataclass

from trainers.config import RunConfig
from trainers.sources import Source, TaskStream


@dataclass(frozen=True)
class Streams:
    """Training tasks by the training seed; fixed validation and test tasks by the episode seed.

    `validation` is None where the split scheme has no validation tasks.
    """

    training: TaskStream
    validation: TaskStream | None
    test: TaskStream


def open_streams(source: Source, config: RunConfig) -> Streams:
    """The streams of a run; raises UsageError where a split cannot give such tasks."""

    def fixed(part: str) -> TaskStream:
        split = f"{config.split}.{part}"
        return source.stream(split, config.way, config.shot, config.query, config.episode_seed)

    training = source.stream(
        f"{config.split}.train",
        config.train_way,
        config.train_shot,
        config.train_query,
        config.seed,
    )
    validates = source.has(f"{config.split}.val")
    return Streams(training, fixed("val") if validates else None, fixed("test"))
