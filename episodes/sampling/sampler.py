"""What a sampler of tasks is: it proposes tasks, selects those to train on, and hears how it went.

A task's identity is a row of int64: for classification a source and the positions of its classes in
that source's class table, in label order, [1 + way]; for regression the number of a function, [1].
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from episodes.errors import EpisodesError, UsageError
from episodes.sampling.rng import episode_words, key_of

SAMPLER_VERSION = "sampler/1"
MEASURES = frozenset({"features", "labels", "gradient_norms", "gradient_cosines"})
FEEDBACK = frozenset(
    {"losses", "accuracies", "weight_gradients", "validation_loss", "class_features"}
)

Arrays = Mapping[str, np.ndarray]


class TaskSpace(Protocol):
    """The tasks that a sampler chooses among."""

    @property
    def sources(self) -> int:
        """The sources that a task can come from."""

    @property
    def classes(self) -> int:
        """The classes of all sources; 0 where tasks have no classes."""

    def canonical(self) -> str:
        """The space as unambiguous lines, which enter the random keys."""

    def identities(self, start: int, count: int) -> np.ndarray:
        """int64 [count, k]: tasks start .. start + count - 1 of the uniform stream; count >= 0."""

    def relabelled(self, identities: np.ndarray, words: np.ndarray) -> np.ndarray:
        """int64 [n, k]: the same tasks with labels permuted by uint64 words [n, k - 1].

        Where there are no labels, as they are.
        """


@dataclass(frozen=True)
class Proposal:
    """Tasks to measure: `identities` int64 [P, k], with the images of tasks start, start + 1, ...

    Those images, not the classes, are what `start` decides.
    """

    identities: np.ndarray
    start: int

    def __len__(self) -> int:
        return len(self.identities)


@dataclass(frozen=True)
class Selection:
    """The tasks to train on: `chosen` int64 [n], positions in the proposal, and their `weights`.

    The weights are float64 [n] of mean 1, all exactly 1.0 where the sampler does not weight.
    """

    chosen: np.ndarray
    weights: np.ndarray

    @classmethod
    def of(cls, chosen: np.ndarray) -> "Selection":
        """These tasks, none weighing more than another."""
        return cls(chosen, np.ones(len(chosen)))


class Sampler(ABC):
    """Chooses the tasks of each meta-batch.

    An iteration calls `propose(batch)`, `select(measured)` and `feedback(arrays)`, with batches
    from 0. The same feedback gives the same tasks; `state()` between iterations, loaded into a new
    sampler of the same arguments, goes on alike. `measures` and `feedback_wanted` name what
    `select` and `feedback` are to be given:

    Of the P proposed tasks: "features" float64 [P, S, d], embeddings of the support; "labels" int64
    [P, S], absent in regression; "gradient_norms" float64 [P], the squared norm of the support
    loss's gradient before adaptation; "gradient_cosines" float64 [P], the cosine of that gradient
    and the query loss's.

    Of the n chosen ones, in order: "losses" [n] on the query set after adaptation; "accuracies"
    [n], absent in regression; "weight_gradients" [n], of the look-ahead validation loss with
    respect to the tasks' probabilities; "validation_loss" [], that loss. "class_features" [C, d],
    in the order of the class table, is given before the batches for which `wants_class_features`.

    Raises UsageError for a batch size under 1 and a seed that is not a whole number.
    """

    name: ClassVar[str]
    measures: frozenset[str] = frozenset()
    feedback_wanted: frozenset[str] = frozenset()

    def __init__(self, space: TaskSpace, batch_size: int, seed: int) -> None:
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise UsageError(f"batch_size is {batch_size!r}; expected a whole number of 1 or more")
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise UsageError(f"seed is {seed!r}; expected a whole number")
        self.space, self.batch_size, self.seed = space, batch_size, seed

    @abstractmethod
    def propose(self, batch: int) -> Proposal:
        """The tasks to measure in batch number `batch`: a function of seed, batch and state."""

    def select(self, measured: Arrays) -> Selection:
        """Which of the tasks last proposed are trained on: all, unless a sampler says otherwise."""
        return Selection.of(np.arange(self.batch_size))

    def feedback(self, arrays: Arrays) -> None:
        """What came of the tasks last selected; most samplers take no notice."""
        return

    def wants_class_features(self, batch: int) -> bool:
        """Whether feedback of "class_features" is due before this batch is proposed."""
        return False

    def state(self) -> dict[str, np.ndarray]:
        """What has been learnt, as float64, int64 or uint64 arrays of any shape."""
        return {}

    def load(self, state: Arrays) -> None:
        """Takes up a state; raises EpisodesError where an entry is missing or of another shape."""
        return

    def _words(self, purpose: str, start: int, count: int, words: int) -> np.ndarray:
        """uint64 [count, words]: random words start, start + 1, ... of the sampler's own."""
        identity = (str(self.seed), self.space.canonical(), f"{self.name} {purpose}")
        return episode_words(key_of(SAMPLER_VERSION, *identity), start, count, words)


class Uniform(Sampler):
    """The uniform stream's tasks as they come."""

    name = "uniform"

    def propose(self, batch: int) -> Proposal:
        start = batch * self.batch_size
        return Proposal(self.space.identities(start, self.batch_size), start)


def entry(
    arrays: Arrays, name: str, shape: tuple[int | None, ...], dtype: type = np.float64
) -> np.ndarray:
    """A copy of an array that must be there, of this shape (None: any length), as `dtype`.

    Raises EpisodesError where it is missing or of another shape.
    """
    if name not in arrays:
        raise EpisodesError(f"{name!r} is missing; found {sorted(arrays)}")
    found: np.ndarray = np.array(arrays[name], dtype)
    if len(found.shape) != len(shape) or any(
        length not in (None, actual) for actual, length in zip(found.shape, shape, strict=True)
    ):
        expected = ["any" if length is None else length for length in shape]
        raise EpisodesError(f"{name!r} has shape {list(found.shape)}; expected {expected}")
    return found
