"""The pictures of what regularizer and sampler did: relations of tasks, weights, and episodes."""

import io
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from episodes.contact_sheet import BACKGROUND, contact_sheet
from episodes.episode_stream import EpisodeStream
from trainers.pictures import FAINT, TEST, TRAINING, VALIDATION, figure_of, png, smoothed

LONGEST_LINE, MOST_NAMED = 52, 5
EPISODES_SHOWN = 3

Records = Sequence[Mapping[str, Any]]


def relation_map(relations: np.ndarray, tasks: Sequence[Sequence[str]]) -> bytes:
    """A heat map of relations `[N, N]` of tasks, each with the names of its classes at its row.

    The colours span the relations of different tasks.
    """
    count = len(tasks)
    others = relations[~np.eye(count, dtype=bool)]
    low, high = float(others.min()), float(others.max())
    figure = figure_of(1 + 0.55 * count)
    axes = figure.subplots()
    shown = axes.imshow(relations, vmin=low, vmax=high)
    for row, values in enumerate(relations):
        for column, value in enumerate(values):
            colour = "white" if value < (low + high) / 2 else "black"
            axes.text(
                column, row, f"{value:.3f}", ha="center", va="center", fontsize=6, color=colour
            )
    names = [f"{number}: {_described(task)}" for number, task in enumerate(tasks)]
    lines = ["\n".join(textwrap.wrap(name, LONGEST_LINE)) for name in names]
    axes.set_yticks(range(count), lines, fontsize=5.5)
    axes.set_xticks(range(count), [str(number) for number in range(count)], fontsize=7)
    axes.set_title("Relations of training tasks", loc="left")
    figure.colorbar(shown, ax=axes, shrink=0.6)
    return png(figure, grid=False)


def task_weights(records: Records) -> bytes:
    """The sampler's weights over training, and the mean of each of its measures, smoothed.

    Takes the records of metrics.jsonl, whose `task_weights` are those of each iteration's tasks.
    """
    x = np.array([record["iteration"] for record in records])
    weights = np.array([record["task_weights"] for record in records])
    measures = [name for name in records[0] if name.startswith("task_") and name != "task_weights"]
    figure = figure_of(2.2 + 1.3 * len(measures))
    panels = figure.subplots(1 + len(measures), 1, sharex=True, squeeze=False)[:, 0]
    lines = (("largest", weights.max(1), VALIDATION), ("smallest", weights.min(1), TRAINING))
    for label, values, colour in lines:
        panels[0].plot(x, values, color=colour, alpha=FAINT, linewidth=0.8)
        panels[0].plot(x, smoothed(values), color=colour, label=f"{label} of a meta-batch")
    panels[0].axhline(1, color="black", linewidth=0.5)
    panels[0].set_ylabel("task weight")
    panels[0].legend(frameon=False, fontsize=8)
    panels[0].set_title("What the sampler did", loc="left")
    for panel, name in zip(panels[1:], measures, strict=True):
        values = np.array([np.mean(record[name]) for record in records])
        panel.plot(x, values, color=TEST, alpha=FAINT, linewidth=0.8)
        panel.plot(x, smoothed(values), color=TEST)
        panel.set_ylabel(name.removeprefix("task_"))
        panel.ticklabel_format(useOffset=False)
        if np.ptp(values) < 1e-6 * abs(values[0]):
            panel.set_ylim(0, 2 * values[0])
    panels[-1].set_xlabel("outer iteration")
    return png(figure)


def variety(sampled: np.ndarray, uniform: np.ndarray, batch_size: int) -> bytes:
    """How many different tasks, and different classes, were met over training, and uniformly.

    Both are identities `[tasks, k]` in the order of training, `batch_size` an iteration. Tasks
    that differ in the order of their classes alone are one; functions have no classes.
    """
    has_classes = sampled.shape[1] > 1
    names = ("sets of classes", "classes") if has_classes else ("functions",)
    figure = figure_of(1 + 2 * len(names))
    panels = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    for label, tasks, colour, style in (
        ("uniform", uniform, TRAINING, "--"),
        ("this run", sampled, VALIDATION, "-"),
    ):
        counts = met(tasks)
        x = (1 + np.arange(len(tasks))) / batch_size
        for panel, values in zip(panels, counts, strict=True):
            panel.plot(x, values, color=colour, linestyle=style, label=label)
    for panel, name in zip(panels, names, strict=True):
        panel.set_ylabel(f"different {name}")
        panel.set_ylim(bottom=0)
    panels[0].legend(frameon=False, fontsize=8)
    panels[0].set_title("What training met", loc="left")
    panels[-1].set_xlabel("outer iteration")
    return png(figure)


def met(tasks: np.ndarray) -> list[np.ndarray]:
    """The numbers of different tasks and of different classes up to each task `[tasks]`."""
    sets = [(int(task[0]), *sorted(task[1:].tolist())) for task in tasks]
    found = [_so_far([[one] for one in sets])]
    if tasks.shape[1] > 1:
        found.append(_so_far([[(one[0], place) for place in one[1:]] for one in sets]))
    return found


def _so_far(things: Sequence[Sequence[tuple[int, ...]]]) -> np.ndarray:
    seen: set[tuple[int, ...]] = set()
    counts = []
    for some in things:
        seen.update(some)
        counts.append(len(seen))
    return np.array(counts)


def extreme_episodes(records: Records, count: int = EPISODES_SHOWN) -> tuple[list[int], list[int]]:
    """Stream indices of the most and of the least weighted tasks of the last quarter of training.

    Those of iteration k (from 0) are k * P .. k * P + P - 1, where P tasks were proposed.
    """
    late = records[-max(1, len(records) // 4) :]
    weighted = [
        (weight, (record["iteration"] - 1) * len(record["task_weights"]) + place)
        for record in late
        for place, weight in enumerate(record["task_weights"])
    ]
    in_order = [index for _, index in sorted(weighted)]
    return in_order[::-1][:count], in_order[:count]


def contact_sheets(stream: EpisodeStream[Any, Any], indices: Sequence[int]) -> bytes:
    """The contact sheets of these episodes, one under the other."""
    from PIL import Image

    sheets = [contact_sheet(stream, index) for index in indices]
    size = max(sheet.width for sheet in sheets), sum(sheet.height for sheet in sheets)
    joined = Image.new("RGB", size, BACKGROUND)
    top = 0
    for sheet in sheets:
        joined.paste(sheet, (0, top))
        top += sheet.height
    buffer = io.BytesIO()
    joined.save(buffer, "PNG")
    return buffer.getvalue()


def _described(classes: Sequence[str]) -> str:
    """The last parts of a few classes' names."""
    named = ["/".join(name.split("/")[-2:]) for name in classes[:MOST_NAMED]]
    more = len(classes) - MOST_NAMED
    return ", ".join([*named, f"{more} more"] if more > 0 else named)
