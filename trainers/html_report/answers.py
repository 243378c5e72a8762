"""What the best checkpoint answers on test episodes, and which classes it takes for which."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from episodes.episode_stream import EpisodeStream
from trainers.model import Model
from trainers.padding import one_by_one
from trainers.sources import TaskStream


@dataclass(frozen=True)
class Answers:
    """A classifier's answers on episode `index`: the names of its classes by label, and for each of
    its query images the true and the predicted label, int64 `[Q]`."""

    index: int
    classes: tuple[str, ...]
    labels: np.ndarray
    predicted: np.ndarray

    @property
    def accuracy(self) -> float:
        """The share of right answers."""
        return float((self.labels == self.predicted).mean())


@dataclass(frozen=True)
class Confusion:
    """Counts of answers on many episodes; all int64, a row a true class.

    `asked` `[C]` query images of each class, `said` `[C, C]` of them were taken for each class;
    `met` `[C, C]` of them were in an episode with that class, so that they could be.
    """

    classes: tuple[str, ...]
    asked: np.ndarray
    said: np.ndarray
    met: np.ndarray

    @property
    def accuracy(self) -> np.ndarray:
        """The share of right answers on each class, float64 `[C]`."""
        return np.asarray(self.said.diagonal() / self.asked)

    @property
    def shares(self) -> np.ndarray:
        """The share of the images in episodes with both classes that were taken for the other,
        float64 `[C, C]`; NaN where the two never met."""
        shares = np.full(self.met.shape, np.nan)
        return np.divide(self.said, self.met, out=shares, where=self.met > 0)


def outputs(model: Model, stream: TaskStream, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Outputs `[Q, o]` of the adapted model on a task's query set, and the targets, `[Q]` labels or
    `[Q, o]` values."""
    learner = model.learner
    tasks = learner.tasks(stream.batch(index, 1), stream.seed)
    [(how, task)] = one_by_one(replace(learner.evaluation, batched=False), tasks)
    result = learner.algorithm.run(how, model.params, model.meta, task)
    return result.outputs.cpu().numpy(), task.query_targets.cpu().numpy()


def answers(model: Model, stream: EpisodeStream, index: int) -> Answers:
    """The model's answers on an episode."""
    logits, labels = outputs(model, stream, index)
    plan = stream.plan(index)
    names = class_names(stream, plan.source, plan.class_ids)
    return Answers(index, names, labels, logits.argmax(1))


def class_names(stream: EpisodeStream, source: int, class_ids: Iterable[int]) -> tuple[str, ...]:
    """The names of a store's classes, with that of the store where there are several."""
    store = stream.stores[source]
    before = f"{store.name}: " if len(stream.stores) > 1 else ""
    return tuple(before + store.class_names[class_id] for class_id in class_ids)


def confusion(of_episodes: Sequence[Answers]) -> Confusion:
    """The counts over all these episodes, of the classes that were in one."""
    classes = sorted({name for found in of_episodes for name in found.classes})
    row = {name: number for number, name in enumerate(classes)}
    asked = np.zeros(len(classes), np.int64)
    said, met = (np.zeros((len(classes), len(classes)), np.int64) for _ in range(2))
    for found in of_episodes:
        rows = np.array([row[name] for name in found.classes])
        np.add.at(asked, rows[found.labels], 1)
        np.add.at(said, (rows[found.labels], rows[found.predicted]), 1)
        counts = np.bincount(found.labels, minlength=len(rows))
        met[np.ix_(rows, rows)] += counts[:, np.newaxis]
    return Confusion(tuple(classes), asked, said, met)
