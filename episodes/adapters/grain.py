"""Grain: episodes as a random-access data source."""

from typing import SupportsIndex

import numpy as np

from episodes.adapters import arrays
from episodes.errors import UsageError
from episodes.stream import Stream


class EpisodeSource:
    """Episodes `start` to start + count - 1 of a stream, by index: grain's protocol of sources.

    An item is a dict of arrays: images uint8 [n, H, W, C], all else int64. Its `repr` says which
    episodes they are, because grain compares it when it goes on from a checkpoint. Needs no grain.
    """

    def __init__(self, stream: Stream, count: int, start: int = 0) -> None:
        if count < 0 or start < 0:
            raise UsageError(f"count {count} and start {start}: expected 0 or more")
        self.stream, self.count, self.start = stream, count, start

    def __repr__(self) -> str:
        digests = "+".join(store.digest[:12] for store in self.stream.stores)
        return f"EpisodeSource({self.stream!r}, {digests}, {self.start} + {self.count})"

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: SupportsIndex) -> dict[str, np.ndarray]:
        position = index.__index__()
        if not 0 <= position < self.count:
            raise IndexError(f"episode {position} of {self.count}")
        return arrays(self.stream[self.start + position])
