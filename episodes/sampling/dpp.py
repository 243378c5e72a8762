"""Samplers of diverse classes: each task's classes are a draw from a k-DPP over class features.

Source: Kumar, Deleu and Bengio 2022, "The effect of diversity in meta-learning", arXiv 2201.11775.
"""

import numpy as np

from episodes.errors import UsageError
from episodes.sampling.k_dpp import KDPP, words_needed
from episodes.sampling.measures import unit_norm
from episodes.sampling.rng import partial_shuffle
from episodes.sampling.sampler import Arrays, Proposal, Sampler, TaskSpace, entry

BATCHES_BETWEEN = 500
SMALL_DRAW = 5


class JoinedDPP:
    """Sets of k rows, drawn 5 at a time from the k-DPP of the rows not yet drawn.

    Raises UsageError where k is not a multiple of 5, or the features' rank is under 5.
    """

    def __init__(self, features: np.ndarray, k: int) -> None:
        if k % SMALL_DRAW:
            raise UsageError(f"a set of {k} classes cannot be joined of sets of {SMALL_DRAW}")
        KDPP(features, SMALL_DRAW)
        self._features, self._draws = features, k // SMALL_DRAW
        self.words = k + self._draws * words_needed(features.shape, SMALL_DRAW)
        self.k = k

    def draw(self, words: np.ndarray) -> np.ndarray:
        """int64 [k] from uint64 [words]."""
        left, drawn = np.arange(len(self._features)), np.empty(0, np.int64)
        for part in words[self.k :].reshape(self._draws, -1):
            some = KDPP(self._features[left], SMALL_DRAW).draw(part)
            drawn = np.append(drawn, left[some])
            left = np.delete(left, some)
        return drawn[partial_shuffle(words[np.newaxis, : self.k], np.array([self.k]))[0]]


class StaticDPP(Sampler):
    """Classes drawn by features given once, in the constructor or as feedback "class_features".

    `features` is [C, d] in the order of the class table, such as the class means of a trained
    network's embeddings; `normalised` makes them of unit norm, so that only their directions count.
    The random words have a seed of their own. Raises UsageError for several sources, for tasks
    without classes, and where the features' rank is under the way.
    """

    name = "s-dpp"
    feedback_wanted = frozenset({"class_features"})

    def __init__(
        self,
        space: TaskSpace,
        batch_size: int,
        seed: int,
        features: np.ndarray | None = None,
        generator_seed: int = 1,
        normalised: bool = False,
    ) -> None:
        super().__init__(space, batch_size, seed)
        if space.sources != 1 or space.classes == 0:
            raise UsageError(
                f"{self.name} draws classes of one source; found {space.sources} sources and "
                f"{space.classes} classes"
            )
        self.seed, self.normalised = generator_seed, normalised
        self.way = space.identities(0, 0).shape[1] - 1
        self._features = np.empty((0, 0))
        if features is not None:
            self.feedback({"class_features": features})

    def propose(self, batch: int) -> Proposal:
        if not len(self._features):
            raise UsageError(f"{self.name} has no class_features at batch {batch}; give them first")
        start = batch * self.batch_size
        words = self._words("tasks", start, self.batch_size, self._kernel.words)
        tasks = np.stack([self._kernel.draw(of_task) for of_task in words])
        identities = np.insert(tasks, 0, 0, axis=1)
        return Proposal(identities, start)

    def wants_class_features(self, batch: int) -> bool:
        return batch == 0 and not len(self._features)

    def feedback(self, arrays: Arrays) -> None:
        if "class_features" in arrays:
            self._take(entry(arrays, "class_features", (self.space.classes, None)))

    def state(self) -> dict[str, np.ndarray]:
        return {"class_features": self._features}

    def load(self, state: Arrays) -> None:
        features = entry(state, "class_features", (None, None))
        if features.size:
            self._take(entry(state, "class_features", (self.space.classes, None)))
        else:
            self._features = np.empty((0, 0))

    def _take(self, features: np.ndarray) -> None:
        self._kernel = self._kernel_of(unit_norm(features) if self.normalised else features)
        self._features = features

    def _kernel_of(self, features: np.ndarray) -> KDPP | JoinedDPP:
        return KDPP(features, self.way)


class DynamicDPP(StaticDPP):
    """As `StaticDPP`, by features of the model in training, every 500 batches from batch 499 on.

    The batches before are uniform. Where the features' rank is under the way W, sets of 5 classes
    are joined, see `JoinedDPP`; raises UsageError where that cannot be, either.
    """

    name = "d-dpp"

    def propose(self, batch: int) -> Proposal:
        if batch >= BATCHES_BETWEEN - 1:
            return super().propose(batch)
        start = batch * self.batch_size
        return Proposal(self.space.identities(start, self.batch_size), start)

    def wants_class_features(self, batch: int) -> bool:
        return (batch + 1) % BATCHES_BETWEEN == 0

    def _kernel_of(self, features: np.ndarray) -> KDPP | JoinedDPP:
        try:
            return KDPP(features, self.way)
        except UsageError:
            if self.way % SMALL_DRAW:
                raise
            return JoinedDPP(features, self.way)
