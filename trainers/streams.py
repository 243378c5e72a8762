"""The episodes of a run: one stream for training, one for validation, one for the test."""

from dataclasses import dataclass

from episodes import Store, Stream
from trainers.config import RunConfig


@dataclass(frozen=True)
class Streams:
    """Training episodes by the training seed; fixed validation and test episodes by the episode
    seed.

    `validation` is None where the split scheme has no validation classes.
    """

    training: Stream
    validation: Stream | None
    test: Stream


def open_streams(store: Store, config: RunConfig) -> Streams:
    """The streams of a run; raises UsageError where a split cannot give such episodes."""

    def fixed(part: str) -> Stream:
        split = f"{config.split}.{part}"
        return store.stream(split, config.way, config.shot, config.query, config.episode_seed)

    training = store.stream(
        f"{config.split}.train",
        config.train_way,
        config.train_shot,
        config.train_query,
        config.seed,
    )
    validates = len(store.split_classes(f"{config.split}.val")) > 0
    return Streams(training, fixed("val") if validates else None, fixed("test"))
