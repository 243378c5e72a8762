"""Online mining of hard tasks: half a batch comes from a buffer of those that went worst.

Source: Kumar, Deleu and Bengio 2022, arXiv 2201.11775; the weighted kind is named by Wang et al.
2024, arXiv 2307.08924, and defined here.
"""

import numpy as np

from episodes.errors import EpisodesError, UsageError
from episodes.sampling.random_choice import gumbel_top
from episodes.sampling.rng import partial_shuffle
from episodes.sampling.sampler import Arrays, Proposal, Sampler, TaskSpace, entry

BUFFER = 50
UNIFORM_BATCHES = 31


class HardTasks(Sampler):
    """After 31 uniform batches, the floor(B / 2) hardest tasks in random order, the rest uniform.

    A task is as hard as its accuracy after adaptation is low or, in regression, as its loss is
    high. The 50 hardest are kept, each with the latest score, by their classes in label order. A
    task whose loss is not a number is not kept.
    """

    name = "ohtm"
    feedback_wanted = frozenset({"losses", "accuracies"})

    def __init__(self, space: TaskSpace, batch_size: int, seed: int) -> None:
        super().__init__(space, batch_size, seed)
        self._tasks = space.identities(0, 0)
        self._hardness = np.empty(0)
        self._proposed: np.ndarray | None = None

    def propose(self, batch: int) -> Proposal:
        start = batch * self.batch_size
        hard = min(self.batch_size // 2, len(self._tasks)) if batch >= UNIFORM_BATCHES else 0
        mined = self._tasks[self._mined(batch, hard)]
        uniform = self.space.identities(start + hard, self.batch_size - hard)
        self._proposed = np.concatenate((mined, uniform))
        return Proposal(self._proposed, start)

    def feedback(self, arrays: Arrays) -> None:
        if self._proposed is None:
            raise EpisodesError(f"{self.name} got feedback before it had proposed tasks")
        if "accuracies" in arrays:
            hardness = -entry(arrays, "accuracies", (self.batch_size,))
        else:
            hardness = entry(arrays, "losses", (self.batch_size,))
        scores = dict(zip(map(tuple, self._tasks.tolist()), self._hardness.tolist(), strict=True))
        new = zip(map(tuple, self._proposed.tolist()), hardness.tolist(), strict=True)
        scores |= {task: score for task, score in new if not np.isnan(score)}
        kept = sorted(scores.items(), key=lambda item: -item[1])[:BUFFER]
        tasks = np.array([task for task, _ in kept], np.int64)
        self._tasks = tasks.reshape(-1, self._tasks.shape[1])
        self._hardness = np.array([score for _, score in kept], np.float64)

    def state(self) -> dict[str, np.ndarray]:
        return {"tasks": self._tasks, "hardness": self._hardness}

    def load(self, state: Arrays) -> None:
        tasks = entry(state, "tasks", (None, self._tasks.shape[1]), np.int64)
        self._hardness = entry(state, "hardness", (len(tasks),))
        self._tasks = tasks

    def _mined(self, batch: int, hard: int) -> np.ndarray:
        """[hard]: positions in the buffer, which is kept hardest first."""
        words = self._words("order", batch, 1, BUFFER)[:, :hard]
        return partial_shuffle(words, np.array([hard]))[0]


class WeightedHardTasks(HardTasks):
    """As `HardTasks`, but the mined tasks are drawn with odds exp(hardness / temperature).

    Raises UsageError for a temperature that is not above 0.
    """

    name = "owhtm"

    def __init__(
        self, space: TaskSpace, batch_size: int, seed: int, temperature: float = 1.0
    ) -> None:
        super().__init__(space, batch_size, seed)
        if not temperature > 0:
            raise UsageError(f"temperature is {temperature!r}; expected a number above 0")
        self.temperature = temperature

    def _mined(self, batch: int, hard: int) -> np.ndarray:
        (words,) = self._words("order", batch, 1, BUFFER)
        return gumbel_top(self._hardness / self.temperature, hard, words[: len(self._hardness)])
