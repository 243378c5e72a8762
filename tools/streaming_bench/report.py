"""The run as JSON, the JSON as a table and as a picture."""

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import this_machine

import episodes
from streaming_bench.rows import LIBRARY, LIMIT, PEER
from streaming_bench.running import Measured, Settings
from streaming_bench.task import Task

Results = list[tuple[Task, list[Measured], dict[str, str]]]
PACKAGES = ("numpy", "pillow", "simplejpeg", "h5py", "torch", "torchvision")
COLOURS = {LIMIT: "#9a9a9a", LIBRARY: "#1f6fb4", PEER: "#c8702a"}
NO_LIMIT = "plans alone"
WIDE = 300


def as_json(results: Results, settings: Settings) -> dict[str, Any]:
    """All that was measured; `eps` is episodes per second, a number a round.

    `cpu_us` is the row's own processor time for an episode, which other programs disturb less;
    `others` is how many cores they took meanwhile.
    `of_limit` is the median of a row's eps over the limit's in the same round; the limit is the
    first row of that kind, with as many threads, that could be measured. `of_limit_cpu` is the
    same by processor time.
    """
    return {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": this_machine.described(PACKAGES),
        "rounds": settings.rounds,
        "seconds": settings.seconds,
        "tasks": [_task(task, measured, skipped) for task, measured, skipped in results],
    }


def _task(task: Task, measured: list[Measured], skipped: dict[str, str]) -> dict[str, Any]:
    rows = [_row(task, found) for found in measured]
    for row in rows:
        limit = next((each for each in rows if _limits(each, row)), None)
        if limit is not None:
            shares = [a / b for a, b in zip(row["eps"], limit["eps"], strict=True)]
            row["limit"], row["of_limit"] = limit["name"], round(median(shares), 4)
            row["of_limit_cpu"] = round(limit["cpu_us"] / row["cpu_us"], 4)
    store = episodes.open(task.store)
    return {
        **asdict(task),
        "digest": store.digest,
        "shards": len(store.info.shards),
        "image_shape": store.image_shape,
        "images": task.images,
        "rows": rows,
        "skipped": skipped,
    }


def _limits(limit: dict[str, Any], row: dict[str, Any]) -> bool:
    if limit["kind"] != LIMIT or limit["name"].startswith(NO_LIMIT):
        return False
    return bool(limit["threads"] == row["threads"])


def _row(task: Task, found: Measured) -> dict[str, Any]:
    eps = [
        images / task.images / seconds
        for images, seconds in zip(found.images, found.seconds, strict=True)
    ]
    cpu_us = [
        1e6 * seconds * task.images / images
        for images, seconds in zip(found.images, found.cpu_seconds, strict=True)
    ]
    return {
        "name": found.row.name,
        "kind": found.row.kind,
        "threads": found.row.threads,
        "dtype": found.started["dtype"],
        "first_delivery": found.started["shapes"],
        "version": found.started["version"],
        "eps": [round(value, 2) for value in eps],
        "median": round(median(eps), 2),
        "min": round(min(eps), 2),
        "max": round(max(eps), 2),
        "cpu_us": round(median(cpu_us), 2),
        "others": [round(cores, 2) for cores in found.others],
        "images_delivered": found.images,
        "first_episode_ms": round(median(found.first_ms), 2),
        "private_mb": round(found.private_bytes / 1e6, 1) if found.private_bytes else None,
    }


def table(run: dict[str, Any]) -> str:
    """The tables of all tasks, and what they were measured on, in Markdown."""
    lines = [
        f"{this_machine.in_words(run['machine'])} {run['rounds']} rounds of "
        f"{run['seconds']} s in shuffled order, each row in a process of its own, warm page cache."
    ]
    for task in run["tasks"]:
        lines += ["", *_task_table(task)]
    return "\n".join(lines)


def _task_table(task: dict[str, Any]) -> list[str]:
    ours = max((row["median"] for row in task["rows"] if row["kind"] == LIBRARY), default=None)
    lines = [
        f"**{_title(task)}** ({task['images']} images an episode, shards: {task['shards']})",
        "",
        "| | threads at work | episodes/s, median (min-max) | of the limit | by processor time "
        "| times slower than the best of ours | first episode, ms | private MB | type |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in task["rows"]:
        limited = "of_limit" in row and row["kind"] != PEER
        share, by_cpu = (
            f"{row[name]:.2f}" if limited else "" for name in ("of_limit", "of_limit_cpu")
        )
        slower = f"{ours / row['median']:,.0f}" if ours and row["kind"] == PEER else ""
        first = "" if row["kind"] == LIMIT else f"{row['first_episode_ms']:,.0f}"
        memory = "" if row["private_mb"] is None else f"{row['private_mb']:,.0f}"
        lines.append(
            f"| {_labelled(row)} | {row['threads']} "
            f"| {row['median']:,.0f} ({row['min']:,.0f}-{row['max']:,.0f}) "
            f"| {share} | {by_cpu} | {slower} | {first} | {memory} | {row['dtype']} |"
        )
    lines += [f"\nNot measured: {name}: {reason}" for name, reason in task["skipped"].items()]
    return lines


def _title(task: dict[str, Any]) -> str:
    return f"{task['store']}, {task['way']}-way {task['shot']}-shot {task['query']}-query"


def _labelled(row: dict[str, Any]) -> str:
    name = row["name"]
    if row["kind"] == LIBRARY:
        name = (
            f"`{name}`".replace(", ", "`, ", 1).removesuffix("`") if ", " in name else f"`{name}`"
        )
    return f"{name} ({row['version']})" if row["version"] else name


def plot(run: dict[str, Any], path: Path) -> None:
    """A panel a task: a bar a row from the slowest to the quickest, on a logarithmic axis."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot, ticker
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    tasks = [task for task in run["tasks"] if task["rows"]]
    heights = [len(task["rows"]) for task in tasks]
    figure, axes = pyplot.subplots(
        len(tasks),
        figsize=(9, 0.27 * sum(heights) + 1.1 * len(tasks)),
        gridspec_kw={"height_ratios": heights},
        squeeze=False,
        layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.08),
    )
    for axis, task in zip(axes[:, 0], tasks, strict=True):
        shown = [row for row in task["rows"] if not row["name"].startswith(NO_LIMIT)]
        rows = sorted(shown, key=lambda row: row["median"])
        medians = [row["median"] for row in rows]
        least, most = min(row["min"] for row in rows), max(row["max"] for row in rows)
        subs = (1, 2, 5) if most < WIDE * least else (1,)
        spread = [
            [row["median"] - row["min"] for row in rows],
            [row["max"] - row["median"] for row in rows],
        ]
        axis.barh(
            [row["name"] for row in rows],
            medians,
            color=[COLOURS[row["kind"]] for row in rows],
            xerr=spread,
            error_kw={"elinewidth": 0.8, "ecolor": "#333333"},
            log=True,
        )
        for position, row in enumerate(rows):
            axis.text(row["max"] * 1.08, position, f"{row['median']:,.0f}", va="center", size=7.5)
        axis.set_xlim(least / 2, most * 3)
        axis.set_ylim(-0.7, len(rows) - 0.3)
        axis.xaxis.set_major_locator(ticker.LogLocator(subs=subs))
        axis.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,.10g}"))
        axis.xaxis.set_minor_locator(ticker.NullLocator())
        axis.set_title(f"{_title(task)}: episodes per second", size=10, loc="left")
        axis.tick_params(labelsize=8)
        axis.grid(axis="x", alpha=0.3)
        axis.set_axisbelow(True)
    kinds = {row["kind"] for task in tasks for row in task["rows"]}
    names = {LIMIT: "copying or decoding alone", LIBRARY: "episodes", PEER: "peers"}
    handles = [
        pyplot.Rectangle((0, 0), 1, 1, color=COLOURS[kind], label=names[kind])
        for kind in names
        if kind in kinds
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=8)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)
