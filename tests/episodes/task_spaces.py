"""Spaces of tasks without images, small enough that samplers can be checked by hand."""

import numpy as np

from episodes.sampling import EpisodeSpec
from episodes.sampling.rng import plan_key
from episodes.sampling.uniform import relabelled, uniform_identities
from tests.episodes.test_sampling_by_hand import class_table


class Classes:
    """Tasks of `way` of the classes of each source."""

    def __init__(self, way: int = 3, classes: int = 12, sources: int = 1) -> None:
        self.spec = EpisodeSpec(way, 1, 1)
        self.tables = [class_table(np.full(classes, 4)) for _ in range(sources)]
        self.sources, self.classes = sources, sources * classes

    def canonical(self) -> str:
        return f"train\n{self.spec.canonical()}"

    def identities(self, start: int, count: int) -> np.ndarray:
        key = plan_key(7, "train", self.spec.canonical())
        return uniform_identities(self.tables, self.spec, key, start, count)

    def relabelled(self, identities: np.ndarray, words: np.ndarray) -> np.ndarray:
        return relabelled(identities, words)


class Functions:
    """Tasks without labels, by number."""

    sources, classes = 1, 0

    def canonical(self) -> str:
        return "functions"

    def identities(self, start: int, count: int) -> np.ndarray:
        return np.arange(start, start + count)[:, np.newaxis]

    def relabelled(self, identities: np.ndarray, words: np.ndarray) -> np.ndarray:
        assert words.shape == (len(identities), 0)
        return identities
