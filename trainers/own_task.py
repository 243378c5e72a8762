"""`trainers adapt`: a model adapted to a user's own labelled images classifies others."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from episodes.errors import UsageError
from trainers.files import write_whole, writing
from trainers.model import ModelFacts
from trainers.model_files import read
from trainers.own_images import OwnTask, read_task
from trainers.prediction_sheet import prediction_sheet

TABLE, SHEET = "predictions.csv", "predictions.png"


@dataclass(frozen=True)
class Predictions:
    """What a model said of the query images of a task: probabilities float64 `[n, classes]`."""

    task: OwnTask
    probabilities: np.ndarray

    @property
    def predicted(self) -> np.ndarray:
        """The most probable label `[n]` of each image."""
        return self.probabilities.argmax(1)

    @property
    def right(self) -> np.ndarray | None:
        """Which of the images are classified rightly, bool `[n]`; None where nobody knows."""
        labels = self.task.query.labels
        return None if labels is None else self.predicted == labels


def adapt_to_folders(
    path: Path,
    support: Path,
    query: Path,
    out: Path,
    steps: int | None = None,
    bn: str | None = None,
) -> dict[str, Any]:
    """Adapt the model in `path`, a run or an export, to the images of `support`, and classify those
    of `query`; the figures.

    Writes predictions.csv and predictions.png into `out`. Raises UsageError and EpisodesError as
    `model_files.load`, `Model.adapt` and `own_images.read_task`.
    """
    model = read(path)
    if model.facts.is_regression:
        raise UsageError(f"{path} predicts values, no classes: use trainers.load in Python")
    task = read_task(support, query, model.facts.input_shape[0], model.picture)
    adapted = model.adapt(task.support.pixels, task.support.labels, steps, bn)
    predictions = Predictions(task, adapted.probabilities(task.query.pixels))
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    write_whole(out / TABLE, table(predictions).encode())
    sheet, shown = prediction_sheet(task, predictions.probabilities)
    write_whole(out / SHEET, sheet)
    return {
        "model": str(path),
        "iteration": model.facts.iteration,
        "steps": adapted.how.steps,
        "bn": bn or model.facts.config.bn,
        **figures(predictions),
        "shown": shown,
        "notes": [
            *model.notes,
            *task.notes,
            *_note_on_colours(task, model.facts),
            *adapted.notes(len(task.query.files)),
        ],
        "files": [str(out / TABLE), str(out / SHEET)],
    }


def _note_on_colours(task: OwnTask, facts: ModelFacts) -> list[str]:
    if not task.lost_colours:
        return []
    _, height, width = facts.input_shape
    return [
        f"the model was trained on {height} x {width} grey images of {facts.trained_on['name']}, "
        "to which the colour pictures were brought"
    ]


def figures(predictions: Predictions) -> dict[str, Any]:
    """Counts of support and query images, and accuracy (0..1, None: not known), whole and by
    class."""
    task, right = predictions.task, predictions.right
    numbers = range(len(task.classes))
    support = [int(np.count_nonzero(task.support.labels == number)) for number in numbers]
    by_class: dict[str, Any] = {}
    for number, name in enumerate(task.classes):
        said = int(np.count_nonzero(predictions.predicted == number))
        by_class[name] = {"support": support[number], "predicted": said}
        if right is not None:
            own = task.query.labels == number
            by_class[name] |= {
                "query": int(np.count_nonzero(own)),
                "right": int(np.count_nonzero(right[own])),
            }
    count = len(task.query.files)
    return {
        "accuracy": None if right is None else float(right.mean()),
        "right": None if right is None else int(right.sum()),
        "query": count,
        "classes": by_class,
    }


def table(predictions: Predictions) -> str:
    """A CSV: file, predicted class, true class where it is known, probability of each class."""
    task, labels = predictions.task, predictions.task.query.labels
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    known = [] if labels is None else ["class"]
    writer.writerow(["file", "predicted", *known, *(f"p({name})" for name in task.classes)])
    for row, file in enumerate(task.query.files):
        names = [task.classes[predictions.predicted[row]]]
        names += [] if labels is None else [task.classes[labels[row]]]
        numbers = [f"{probability:.6f}" for probability in predictions.probabilities[row]]
        writer.writerow([file, *names, *numbers])
    return text.getvalue()
