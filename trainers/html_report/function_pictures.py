"""Regression tasks as pictures: predictions before and after adapting, and the truth."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from trainers.html_report.answers import outputs
from trainers.metrics import METRICS
from trainers.model import Model
from trainers.pictures import TEST, TRAINING, VALIDATION, figure_of, png
from trainers.sources import TaskStream
from trainers.tasks import RegressionBatch
from trainers.tasks.stream import FamilyStream

POINTS_OF_A_CURVE = 200


def tasks_picture(model: Model, stream: TaskStream, indices: Sequence[int]) -> bytes:
    """A panel a task: curves where inputs and targets are single numbers, else predicted against
    true values of the query points."""
    figure = figure_of(2.9)
    panels = figure.subplots(1, len(indices), squeeze=False)[0]
    metric = METRICS[model.facts.config.metric]
    has_curves = model.facts.input_shape == (1,) and model.facts.network_outputs == 1
    for panel, index in zip(panels, indices, strict=True):
        draw = _curves if has_curves else _against_truth
        figure_of_task = draw(panel, model, stream, index)
        panel.set_title(f"task {index}: {metric.name} {metric.text(figure_of_task)}", fontsize=8)
        panel.tick_params(labelsize=7)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False, fontsize=8)
    return png(figure)


def _curves(panel: Any, model: Model, stream: TaskStream, index: int) -> float:
    task = cast(RegressionBatch, stream.batch(index, 1))
    support = task.support_inputs[0, :, 0], task.support_targets[0, :, 0]
    query = task.query_inputs[0, :, 0], task.query_targets[0, :, 0]
    everywhere = np.concatenate([support[0], query[0]])
    grid = np.linspace(everywhere.min(), everywhere.max(), POINTS_OF_A_CURVE)
    inputs = grid[:, np.newaxis].astype(np.float32)
    if isinstance(stream, FamilyStream):
        truth = stream.family.values(stream.functions(index, 1), grid[np.newaxis])[0]
        panel.plot(grid, truth, color=TEST, linewidth=1.2, label="true function")
    for steps, colour, label in ((0, "#b0b7bf", "before"), (None, TRAINING, "adapted")):
        adapted = model.adapt(task.support_inputs[0], task.support_targets[0], steps=steps)
        panel.plot(grid, adapted.predict(inputs)[:, 0], color=colour, label=label, linewidth=1.4)
    panel.plot(*query, ".", color=TEST, markersize=4, label="query points")
    panel.plot(*support, "o", color=VALIDATION, markersize=5, label="support points")
    return _measured(model, stream, index)


def _against_truth(panel: Any, model: Model, stream: TaskStream, index: int) -> float:
    predicted, true = outputs(model, stream, index)
    ends = [float(true.min()), float(true.max())]
    panel.plot(ends, ends, color=TEST, linewidth=1, label="predicted as it is")
    panel.plot(true.ravel(), predicted.ravel(), "o", color=TRAINING, markersize=4, label="query")
    panel.set_xlabel("true value", fontsize=7)
    panel.set_ylabel("predicted value", fontsize=7)
    return _measured(model, stream, index)


def _measured(model: Model, stream: TaskStream, index: int) -> float:
    import torch

    predicted, true = map(torch.as_tensor, outputs(model, stream, index))
    return float(METRICS[model.facts.config.metric].of(predicted, true))
