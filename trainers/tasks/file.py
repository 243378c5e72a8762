"""A user's own regression tasks out of a file, as a stream."""

import os
from pathlib import Path

import numpy as np

from episodes.errors import EpisodesError, UsageError, unknown_name
from episodes.sampling.rng import episode_words, partial_shuffle
from trainers.tasks.stream import RegressionStream
from trainers.tasks.table import read_table


class TaskFile:
    """The tasks of an NPZ or Parquet file of `task`, `inputs`, `targets`, `split`, a row a point.

    Points of one `task` (whole numbers or text) make a task, in one `split` (text). `inputs` are
    numbers [n, d] or images uint8 [n, H, W, C], `targets` numbers [n] or [n, o]. `tasks` maps each
    split to the names of its tasks, in the file's order. Raises UsageError where the file is not
    there or of another kind, and EpisodesError where it is damaged or holds anything else.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        table = read_table(self.path)
        self._inputs, self._targets = table.inputs, table.targets.astype(np.float32)
        _, first, task = np.unique(table.task, return_index=True, return_inverse=True)
        self._rows = np.argsort(task, kind="stable")
        self._sizes = np.bincount(task)
        self._starts = np.cumsum(self._sizes) - self._sizes
        splits = table.split[first]
        if (torn := np.flatnonzero(table.split != splits[task])).size:
            row = torn[0]
            raise EpisodesError(
                f"{self.path}: task {table.task[row]} is in split {splits[task[row]]} and in "
                f"{table.split[row]}; expected each task in one"
            )
        in_order = np.argsort(first)
        self._tasks = {str(s): in_order[splits[in_order] == s] for s in dict.fromkeys(table.split)}
        names = table.task[first]
        self.tasks = {split: names[tasks].tolist() for split, tasks in self._tasks.items()}

    def __repr__(self) -> str:
        counts = ", ".join(f"{len(tasks)} {split}" for split, tasks in self.tasks.items())
        return f"TaskFile({self.path}: {counts} tasks)"

    def stream(
        self, split: str = "train", shot: int = 5, query: int = 10, seed: int = 1
    ) -> "FileStream":
        """The tasks of a split, each with `shot` support and `query` other points, chosen anew."""
        return FileStream(self, split, shot, query, seed)

    def task_indices(self, split: str) -> np.ndarray:
        """int64: a split's tasks, in the file's order; raises UsageError for an unknown split."""
        if split not in self._tasks:
            raise unknown_name("split", split, self._tasks)
        return self._tasks[split]

    def sizes(self, tasks: np.ndarray) -> np.ndarray:
        """int64: the points of each of these tasks."""
        return self._sizes[tasks]

    def points(self, tasks: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Inputs [B, n, ...] and targets float32 [B, n, o] at `places` [B, n] of `tasks` [B].

        Inputs are float32, or uint8 where they are images.
        """
        rows = self._rows[self._starts[tasks][:, np.newaxis] + places]
        inputs = self._inputs[rows]
        return inputs if self._inputs.ndim == 4 else inputs.astype(np.float32), self._targets[rows]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(d,), or an image's (H, W, C)."""
        return self._inputs.shape[1:]

    @property
    def outputs(self) -> int:
        """The number of values of a target."""
        return self._targets.shape[1]


class FileStream(RegressionStream):
    """Tasks of a split of a `TaskFile`, every task once in each round over them.

    Round r is tasks r * T to r * T + T - 1 of the stream, where T is the number of the split's
    tasks: these sorted by random words of (seed, split, r). The points of task i are the first of a
    Fisher-Yates shuffle, so that support and query do not overlap. Raises UsageError for an unknown
    split, for a task with too few points, and as `RegressionStream`.
    """

    def __init__(self, file: TaskFile, split: str, shot: int, query: int, seed: int) -> None:
        super().__init__(split, shot, query, seed, file.input_shape, file.outputs)
        self.file, self._split_tasks = file, file.task_indices(split)
        sizes = file.sizes(self._split_tasks)
        smallest = int(np.argmin(sizes))
        if sizes[smallest] < shot + query:
            raise UsageError(
                f"{file.path}: task {file.tasks[split][smallest]} has {sizes[smallest]} points; "
                f"{shot} support and {query} query points need {shot + query}"
            )
        self._order_key = self._key("order")
        self._points_key = self._key("points", shot=shot, query=query)

    def __len__(self) -> int:
        """The split's tasks: the length of a round."""
        return len(self._split_tasks)

    def canonical(self) -> str:
        return '{"family":"TaskFile"}'

    def task_names(self, start: int, size: int) -> list[int | str]:
        """The names in the file of tasks start .. start + size - 1."""
        names = self.file.tasks[self.split]
        return [names[place] for place in self._places(start, size)]

    def _tasks(self, start: int, size: int) -> tuple[np.ndarray, np.ndarray]:
        tasks = self._split_tasks[self._places(start, size)]
        words = episode_words(self._points_key, start, size, self.shot + self.query)
        places = partial_shuffle(words, self.file.sizes(tasks)).astype(np.int64)
        return self.file.points(tasks, places)

    def _places(self, start: int, size: int) -> np.ndarray:
        """Which of the split's tasks the stream's tasks start .. start + size - 1 are."""
        rounds, within = np.divmod(start + np.arange(size), len(self))
        first, count = start // len(self), len(np.unique(rounds))
        orders = np.argsort(
            episode_words(self._order_key, first, count, len(self)), axis=1, kind="stable"
        )
        return orders[rounds - first, within]
