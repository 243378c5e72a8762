"""The pictures of a run, as PNG bytes."""

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from trainers.evaluation import Evaluation
from trainers.metrics import Metric

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOTS_PER_INCH = 150
TRAINING, VALIDATION, TEST = "#4c78a8", "#f58518", "#54a24b"
FAINT = 0.2


def learning_curve(
    metric: Metric,
    iterations: Sequence[Mapping[str, Any]],
    validations: Sequence[Mapping[str, Any]],
    test: Mapping[str, Any] | None,
) -> bytes:
    """Loss and metric of the training episodes, smoothed, with validation and test.

    Takes the records of metrics.jsonl and the test figures of results.json, if there are any yet.
    """
    figure = figure_of(6.4)
    loss, measured = figure.subplots(2, 1, sharex=True)
    x = np.array([record["iteration"] for record in iterations])
    for axes, name, scale in ((loss, "loss", 1), (measured, metric.name, metric.scale)):
        values = scale * np.array([record[name] for record in iterations])
        if len(values):
            axes.plot(x, values, color=TRAINING, alpha=FAINT, linewidth=0.8)
            axes.plot(x, smoothed(values), color=TRAINING, label="training, smoothed")
    loss.set_ylabel("query loss")
    loss.set_title("Learning curve", loc="left")
    if validations:
        measured.errorbar(
            [record["iteration"] for record in validations],
            [metric.scale * record[f"validation_{metric.name}"] for record in validations],
            [metric.scale * record["validation_interval"] for record in validations],
            color=VALIDATION,
            marker="o",
            markersize=4,
            linewidth=1.2,
            label="validation, 95 % interval",
        )
    if test is not None:
        mean, interval = test[metric.name], test["interval"]
        low, high = (metric.scale * (mean + side * interval) for side in (-1, 1))
        measured.axhspan(low, high, color=TEST, alpha=FAINT, linewidth=0)
        measured.axhline(
            metric.scale * mean,
            color=TEST,
            linestyle="--",
            linewidth=1.2,
            label=f"test of the best checkpoint: {metric.text(mean)}",
        )
    unit = f" ({metric.unit})" if metric.unit else ""
    measured.set_ylabel(f"query {metric.name}{unit}")
    measured.set_xlabel("outer iteration")
    corner = "lower right" if metric.is_higher_better else "upper right"
    measured.legend(loc=corner, frameon=False)
    return png(figure)


def rates(
    evaluation: Evaluation,
    trained_steps: int,
    branches: tuple[str, str] | None,
    tensors: Sequence[str],
) -> bytes:
    """The rate at each inner step of the test episodes: mean, spread, and the branches' shares.

    Where a scheme has a rate for each adapted tensor, by name in `tensors`, a panel for each.
    """
    if evaluation.rates.ndim > 2:
        return rates_by_tensor(evaluation, trained_steps, tensors)
    figure = figure_of(6.4 if branches else 3.6)
    panels = figure.subplots(2 if branches else 1, 1, sharex=True, squeeze=False)[:, 0]
    steps = np.arange(1, evaluation.rates.shape[1] + 1)
    low, high = np.percentile(evaluation.rates, [10, 90], axis=0)
    panels[0].fill_between(
        steps, low, high, color=TRAINING, alpha=FAINT, label="10th to 90th percentile"
    )
    panels[0].plot(steps, evaluation.rates.mean(0), color=TRAINING, marker="o", label="mean")
    panels[0].set_ylabel("inner rate")
    panels[0].set_ylim(bottom=min(0, panels[0].get_ylim()[0]))
    panels[0].set_title(f"Inner rates over {len(evaluation.rates)} test episodes", loc="left")
    if branches:
        first = 100 * evaluation.branches.mean(0)
        panels[1].bar(steps, first, color=TRAINING, label=branches[0])
        panels[1].bar(steps, 100 - first, bottom=first, color=VALIDATION, label=branches[1])
        panels[1].set_ylabel("episodes in the branch (%)")
        panels[1].set_ylim(0, 100)
    if trained_steps < steps[-1]:
        for axes, label in zip(panels, ("last step in training", None), strict=False):
            axes.axvline(trained_steps + 0.5, color="black", linestyle=":", label=label)
    for axes in panels:
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    panels[-1].set_xlabel("inner step")
    panels[-1].set_xticks(steps)
    return png(figure)


def rates_by_tensor(evaluation: Evaluation, trained_steps: int, tensors: Sequence[str]) -> bytes:
    """The rate of each adapted tensor at each inner step: mean, 10th to 90th percentile."""
    columns = min(4, len(tensors))
    rows = -(-len(tensors) // columns)
    figure = figure_of(1.2 + 1.6 * rows)
    panels = figure.subplots(rows, columns, sharex=True, squeeze=False).ravel()
    steps = np.arange(1, evaluation.rates.shape[1] + 1)
    for panel, name, values in zip(
        panels, tensors, evaluation.rates.transpose(2, 0, 1), strict=False
    ):
        low, high = np.percentile(values, [10, 90], axis=0)
        panel.fill_between(steps, low, high, color=TRAINING, alpha=FAINT)
        panel.plot(steps, values.mean(0), color=TRAINING, marker="o", markersize=3)
        panel.set_title(name, fontsize=7)
        panel.tick_params(labelsize=6)
        panel.axhline(0, color="black", linewidth=0.5)
        if trained_steps < steps[-1]:
            panel.axvline(trained_steps + 0.5, color="black", linestyle=":")
    for unused in panels[len(tensors) :]:
        unused.set_axis_off()
    figure.suptitle(f"Inner rates by tensor over {len(evaluation.rates)} test episodes", fontsize=9)
    figure.supxlabel("inner step", fontsize=8)
    return png(figure)


def smoothed(values: np.ndarray) -> np.ndarray:
    """Centred moving average over a twentieth of the values, over half of that at the ends."""
    half = len(values) // 40
    totals = np.concatenate(([0.0], np.cumsum(values)))
    position = np.arange(len(values))
    begin = np.maximum(position - half, 0)
    end = np.minimum(position + half + 1, len(values))
    return (totals[end] - totals[begin]) / (end - begin)


def figure_of(height: float) -> "Figure":
    """An empty figure of the width of all pictures, and this height in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(7.2, height), layout="constrained")


def png(figure: "Figure", grid: bool = True) -> bytes:
    """The figure as PNG, with the frame of all pictures, and lines across if there is a grid."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        if grid:
            axes.grid(axis="y", alpha=FAINT)
        axes.set_axisbelow(True)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH)
    return buffer.getvalue()
