"""Streams of regression tasks: by index, in batches, from any place.

Algorithm `tasks/1`. Words are those of `episodes.sampling.rng`, by `plan_key(seed, split, LINE)`,
where LINE is canonical JSON. A stream over a family has two keys. That of its functions knows
nothing of shot and query, so that different shots meet the same functions: function f takes words
f * F to f * F + F - 1 (F rounded up to whole blocks of four). That of its points gives task i one
word that chooses the function where training has a fixed number of them (else it is function i),
then for each point, support first, the words of its input and two of its noise, if there is any.
A word's top 53 bits make a number in [0, 1).
"""

import hashlib
import json
import operator
from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cached_property

import numpy as np

from episodes.errors import UsageError, unknown_name
from episodes.sampling.rng import below, episode_words, plan_key
from trainers.tasks.batch import RegressionBatch, RegressionTask
from trainers.tasks.elementary import WORDS_PER_NORMAL, normals, uniforms
from trainers.tasks.families import FAMILIES, Family

TASKS_VERSION = "tasks/1"
SPLITS = ("train", "val", "test")
INDEX_END = 2**63 - 1
TASKS_HASHED_AT_ONCE = 256


class RegressionStream(ABC):
    """Tasks of `shot` support and `query` query points; task i is a pure function of i.

    The same on every machine, from any start, in batches of any size. `input_shape` is (d,) or that
    of an image, (H, W, C); `outputs` is the number of values of a target. Raises UsageError for
    counts under 1 and a seed that is no whole number.
    """

    def __init__(
        self,
        split: str,
        shot: int,
        query: int,
        seed: int,
        input_shape: tuple[int, ...],
        outputs: int,
    ) -> None:
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise UsageError(f"seed is {seed!r}; expected a whole number")
        for name, count in (("shot", shot), ("query", query)):
            if isinstance(count, bool) or not isinstance(count, int) or count < 1:
                raise UsageError(f"{name} is {count!r}; expected a whole number of 1 or more")
        self.split, self.shot, self.query, self.seed = split, shot, query, seed
        self.input_shape, self.outputs = input_shape, outputs

    @abstractmethod
    def canonical(self) -> str:
        """What the tasks are drawn from, as one unambiguous line."""

    @abstractmethod
    def _tasks(self, start: int, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Inputs [size, shot + query, ...] and targets [size, shot + query, outputs]."""

    def __repr__(self) -> str:
        shape = f"{self.shot}-shot {self.query}-query"
        return f"{type(self).__name__}({self.canonical()}, {self.split}, {shape}, seed {self.seed})"

    def __getitem__(self, index: int) -> RegressionTask:
        return self.batch(index, 1)[0]

    def batch(self, start: int, size: int) -> RegressionBatch:
        """Tasks start .. start + size - 1; raises UsageError outside 0 .. 2**63 - 2."""
        start, size = operator.index(start), operator.index(size)
        if start < 0 or size < 0 or start + size > INDEX_END:
            raise UsageError(f"tasks {start} .. {start + size - 1}: indices are 0 to 2**63 - 2")
        return self._batch(start, *self._tasks(start, size))

    def _batch(self, start: int, inputs: np.ndarray, targets: np.ndarray) -> RegressionBatch:
        return RegressionBatch(
            support_inputs=inputs[:, : self.shot],
            support_targets=targets[:, : self.shot],
            query_inputs=inputs[:, self.shot :],
            query_targets=targets[:, self.shot :],
            index=start + np.arange(len(inputs)),
        )

    def batches(
        self, size: int, start: int = 0, stop: int | None = None
    ) -> Iterator[RegressionBatch]:
        """Batches of `size` tasks from `start` to before `stop` (default: without end).

        The last batch may be smaller. Raises UsageError for a size under 1.
        """
        if size < 1:
            raise UsageError(f"size is {size}; expected 1 or more")
        end = INDEX_END if stop is None else stop
        return (self.batch(first, min(size, end - first)) for first in range(start, end, size))

    def fingerprint(self, count: int) -> str:
        """The hash by which a paper can cite the first `count` tasks, SHA-256 in hex.

        It covers the algorithm's version, what the tasks are drawn from, split, shot, query, seed
        and count, and every input and target.
        """
        header = (TASKS_VERSION, self.canonical(), self.split, self.shot, self.query, self.seed)
        fingerprint = hashlib.sha256("\n".join(map(str, (*header, count))).encode())
        for batch in self.batches(TASKS_HASHED_AT_ONCE, 0, count):
            for position in range(len(batch)):
                task = batch[position]
                for array in (
                    task.support_inputs,
                    task.support_targets,
                    task.query_inputs,
                    task.query_targets,
                ):
                    fingerprint.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
        return fingerprint.hexdigest()

    def _key(self, purpose: str, **counts: int) -> int:
        """The random key of one of the stream's draws."""
        line = {"algorithm": TASKS_VERSION, "of": self.canonical(), "purpose": purpose, **counts}
        text = json.dumps(line, sort_keys=True, separators=(",", ":"))
        return plan_key(self.seed, self.split, text)


class FamilyStream(RegressionStream):
    """Tasks whose functions are drawn from a family; inputs float32 [n, 1], targets [n, 1].

    A family with a number of `functions` has that many in training, and a new one for every
    validation and test task. Targets are the function's values at the float32 inputs. Raises
    UsageError for an unknown split, and as `RegressionStream`.
    """

    def __init__(self, family: Family, split: str, shot: int, query: int, seed: int) -> None:
        if split not in SPLITS:
            raise unknown_name("split", split, SPLITS)
        super().__init__(split, shot, query, seed, input_shape=(1,), outputs=1)
        self.family = family
        self._functions_key = self._key("functions")
        self._points_key = self._key("points", shot=shot, query=query)

    def canonical(self) -> str:
        return self.family.canonical()

    @property
    def sources(self) -> int:
        """One, as `episodes.sampling.TaskSpace` counts them."""
        return 1

    @property
    def classes(self) -> int:
        """None: functions have no classes."""
        return 0

    def identities(self, start: int, count: int) -> np.ndarray:
        """int64 [count, 1]: the numbers of the functions of tasks start .. start + count - 1."""
        return self._numbers(start, self._words(start, count))[:, np.newaxis]

    def relabelled(self, identities: np.ndarray, words: np.ndarray) -> np.ndarray:
        """The same functions, which have no labels."""
        return identities

    def batch_of(self, identities: np.ndarray, start: int) -> RegressionBatch:
        """The functions `identities` int64 [n, 1] at the points of tasks start .. start + n - 1."""
        identities = np.asarray(identities)
        if identities.ndim != 2 or identities.shape[1] != 1 or identities.min(initial=0) < 0:
            raise UsageError(f"identities are {identities.shape}; expected whole numbers [n, 1]")
        words = self._words(start, len(identities))
        return self._batch(start, *self._values(self._functions(identities[:, 0]), words))

    def functions(self, start: int, size: int) -> np.ndarray:
        """float64 [size, family.function_draws]: the functions of tasks start .. start + size - 1.

        `family.values` gives their values anywhere, to draw a curve for one.
        """
        return self._functions(self._numbers(start, self._words(start, size)))

    def _tasks(self, start: int, size: int) -> tuple[np.ndarray, np.ndarray]:
        words = self._words(start, size)
        return self._values(self._functions(self._numbers(start, words)), words)

    def _values(self, functions: np.ndarray, words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        family, points_shape = self.family, (len(words), self.shot + self.query, self._point_words)
        points = uniforms(words[:, 1:]).reshape(points_shape)
        inputs = family.inputs(functions, points[..., : family.input_draws]).astype(np.float32)
        targets = family.values(functions, inputs.astype(np.float64))
        if family.noise:
            targets = targets + family.noise * normals(points[..., family.input_draws :])
        return inputs[..., np.newaxis], targets.astype(np.float32)[..., np.newaxis]

    @property
    def _point_words(self) -> int:
        return self.family.input_draws + (WORDS_PER_NORMAL if self.family.noise else 0)

    def _words(self, start: int, size: int) -> np.ndarray:
        points = (self.shot + self.query) * self._point_words
        return episode_words(self._points_key, start, size, 1 + points)

    def _numbers(self, start: int, words: np.ndarray) -> np.ndarray:
        if self._shares_functions:
            assert self.family.functions is not None
            return below(words[:, 0], np.uint64(self.family.functions)).astype(np.int64)
        return start + np.arange(len(words))

    @property
    def _shares_functions(self) -> bool:
        return self.family.functions is not None and self.split == "train"

    def _functions(self, numbers: np.ndarray) -> np.ndarray:
        if self._shares_functions:
            return self._shared_functions[numbers]
        if (np.diff(numbers) == 1).all():
            return self._drawn_functions(int(numbers[0]) if len(numbers) else 0, len(numbers))
        return np.concatenate([self._drawn_functions(int(number), 1) for number in numbers])

    @cached_property
    def _shared_functions(self) -> np.ndarray:
        assert self.family.functions is not None
        return self._drawn_functions(0, self.family.functions)

    def _drawn_functions(self, start: int, count: int) -> np.ndarray:
        draws = self.family.function_draws
        return uniforms(episode_words(self._functions_key, start, count, draws))


def stream(
    family: str | Family, split: str = "train", shot: int = 5, query: int = 10, seed: int = 1
) -> FamilyStream:
    """The stream of a family, which is one of `FAMILIES` by name, or one with settings of its own.

    `split` is train, val or test: each has functions of its own. Raises UsageError for an unknown
    name, and as `FamilyStream`.
    """
    if isinstance(family, str):
        if family not in FAMILIES:
            raise unknown_name("family of regression tasks", family, FAMILIES)
        family = FAMILIES[family]
    return FamilyStream(family, split, shot, query, seed)
