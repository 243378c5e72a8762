"""Samplers of little diversity: few sets of classes, with new labels and new images every time.

Source: Kumar, Deleu and Bengio 2022, "The effect of diversity in meta-learning", arXiv 2201.11775.
"""

from abc import abstractmethod

import numpy as np

from episodes.errors import UsageError
from episodes.sampling.rng import partial_shuffle
from episodes.sampling.sampler import Proposal, Sampler, TaskSpace


class FixedSets(Sampler):
    """Tasks of given class sets, their labels permuted each time."""

    def propose(self, batch: int) -> Proposal:
        sets = self._sets(batch)
        labels = sets.shape[1] - 1
        words = self._words("labels", batch, 1, len(sets) * labels)
        tasks = self.space.relabelled(sets, words.reshape(len(sets), labels))
        return Proposal(tasks, batch * self.batch_size)

    @abstractmethod
    def _sets(self, batch: int) -> np.ndarray:
        """int64 [batch_size, k]: the class sets of a batch, in any label order."""


class NoDiversityTask(FixedSets):
    """One class set for the whole run."""

    name = "ndt"

    def _sets(self, batch: int) -> np.ndarray:
        return np.repeat(self.space.identities(0, 1), self.batch_size, axis=0)


class NoDiversityBatch(FixedSets):
    """The same class sets in every batch, in a new order."""

    name = "ndb"

    def _sets(self, batch: int) -> np.ndarray:
        words = self._words("order", batch, 1, self.batch_size)
        (order,) = partial_shuffle(words, np.array([self.batch_size]))
        return self.space.identities(0, self.batch_size)[order]


class NoDiversityTasksPerBatch(FixedSets):
    """One new class set in each batch."""

    name = "ndtb"

    def _sets(self, batch: int) -> np.ndarray:
        return np.repeat(self.space.identities(batch, 1), self.batch_size, axis=0)


class FixedPool(FixedSets):
    """One task a batch, each class set `repeats` times in a row: NDTB stretched in time.

    Raises UsageError for another batch size than 1, and for repeats under 1.
    """

    name = "fixed-pool"

    def __init__(self, space: TaskSpace, batch_size: int, seed: int, repeats: int = 32) -> None:
        super().__init__(space, batch_size, seed)
        if batch_size != 1:
            raise UsageError(f"fixed-pool trains on 1 task a batch; found batch_size {batch_size}")
        if isinstance(repeats, bool) or not isinstance(repeats, int) or repeats < 1:
            raise UsageError(f"repeats is {repeats!r}; expected a whole number of 1 or more")
        self.repeats = repeats

    def _sets(self, batch: int) -> np.ndarray:
        return self.space.identities(batch // self.repeats, 1)
