"""The run as JSON, the JSON as a table."""

from dataclasses import asdict
from datetime import UTC, datetime
from statistics import median
from typing import Any

import this_machine

from training_bench.rows import OURS
from training_bench.running import AGREES, Group, Measured, Rounds
from training_bench.setting import Setting

PACKAGES = ("torch", "numpy")
PEER = "learn2learn"
HOUR_OF_ITERATIONS = 60_000


def as_json(
    setting: Setting, rounds: Rounds, peaks: dict[str, float], groups: list[Group]
) -> dict[str, Any]:
    """All that was measured; `seconds` are those of an iteration, a number a round.

    `times_peer` is the median, over the rounds, of learn2learn's seconds under the same allocator
    and precision over the row's; `times_peer_as_started` compares with learn2learn under the
    system's allocator. `of_constant` is, of a row over its stream, its rate over that on one batch.
    `difference` is the meta-gradient's, in float64, from the trainers' plain loop.
    """
    return {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": this_machine.described(PACKAGES) | {"gpu": _gpu(setting.device)},
        "setting": asdict(setting),
        "title": str(setting),
        **asdict(rounds),
        "peaks_gflops": {name: round(figure, 1) for name, figure in peaks.items()},
        "algorithms": [_group(setting, group) for group in groups],
    }


def _group(setting: Setting, group: Group) -> dict[str, Any]:
    rows = [_row(setting, group, found) for found in group.rows]
    for row in rows:
        for name, allocator in (
            ("times_peer", row["allocator"]),
            ("times_peer_as_started", "default"),
        ):
            peer = baseline(rows, row, allocator)
            row[name] = None if peer is None else ratio(peer["seconds"], row["seconds"])
        constant = _constant(rows, row)
        if constant is not None:
            row["of_constant"] = ratio(constant["seconds"], row["seconds"])
    return {"algo": group.algo, "flops": group.flops, "rows": rows, "skipped": group.skipped}


def ratio(of: list[float], to: list[float]) -> float:
    """The median of the rounds' ratios."""
    return round(median(a / b for a, b in zip(of, to, strict=True)), 4)


def baseline(
    rows: list[dict[str, Any]], row: dict[str, Any], allocator: str
) -> dict[str, Any] | None:
    """learn2learn under that allocator, in the row's precision if it has been measured so, else in
    fp32; None where it is not there."""
    found = {
        peer["precision"]: peer
        for peer in rows
        if peer["implementation"] == PEER and peer["allocator"] == allocator
    }
    return found.get(row["precision"], found.get("fp32"))


def _constant(rows: list[dict[str, Any]], row: dict[str, Any]) -> dict[str, Any] | None:
    if not row["is_streaming"]:
        return None
    same = ("implementation", "allocator", "lr", "precision", "settings")
    alike = [
        other
        for other in rows
        if not other["is_streaming"] and all(other[name] == row[name] for name in same)
    ]
    return alike[0] if alike else None


def _row(setting: Setting, group: Group, found: Measured) -> dict[str, Any]:
    middle = median(found.seconds)
    steady, evaluation = found.steady_seconds, found.evaluation_seconds
    return found.row.as_json() | {
        "version": found.last["version"],
        "seconds": [round(value, 5) for value in found.seconds],
        "median": round(middle, 5),
        "min": round(min(found.seconds), 5),
        "max": round(max(found.seconds), 5),
        "tasks_per_second": round(setting.meta_batch_size / middle, 3),
        "gflops": None if group.flops is None else round(group.flops / middle / 1e9, 1),
        "peak_mb": _megabytes(found.last["peak_bytes"]),
        "gpu_peak_mb": _megabytes(found.last["gpu_peak_bytes"]),
        "others": [round(cores, 2) for cores in found.others],
        "difference": found.difference,
        "steady_seconds": steady,
        "evaluation_seconds": evaluation,
    }


def _megabytes(count: int | None) -> float | None:
    return None if count is None else round(count / 1e6, 1)


def _gpu(device: str) -> str | None:
    import torch

    return torch.cuda.get_device_name() if device == "cuda" else None


def table(run: dict[str, Any]) -> str:
    """A table for each algorithm, and what they were measured on, in Markdown."""
    machine, gpu = run["machine"], run["machine"]["gpu"]
    peaks = ", ".join(f"{name} {figure:,.0f}" for name, figure in run["peaks_gflops"].items())
    lines = [
        f"{run['title']}.",
        "",
        f"{gpu + '; ' if gpu else ''}{this_machine.in_words(machine)} {run['rounds']} rounds of "
        f"{_count(run['iterations'], 'iteration')} in shuffled order, each row in a process of its "
        f"own. The machine's peaks, GFLOP/s: {peaks}.",
    ]
    for group in run["algorithms"]:
        lines += ["", *_group_table(run, group)]
    return "\n".join(lines)


def _group_table(run: dict[str, Any], group: dict[str, Any]) -> list[str]:
    flops = "" if group["flops"] is None else f" ({group['flops'] / 1e9:,.0f} GFLOP an iteration)"
    lines = [
        f"**{group['algo']}**{flops}",
        "",
        "| | allocator | seconds an iteration, median (min-max) | tasks/s | times learn2learn, "
        "same allocator | times learn2learn as a user starts it | GFLOP/s | peak MB "
        "| same gradient |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in sorted(group["rows"], key=lambda row: (row["allocator"], row["median"])):
        name = f"**{row['name']}**" if row["implementation"] == OURS else row["name"]
        version = f" {row['version']}" if row["version"] else ""
        gpu_memory = row["gpu_peak_mb"] is not None
        memory = row["gpu_peak_mb" if gpu_memory else "peak_mb"]
        lines.append(
            f"| {name}{version} | {row['allocator']} "
            f"| {row['median']:.3g} ({row['min']:.3g}-{row['max']:.3g}) "
            f"| {row['tasks_per_second']:.3g} | {_times(row['times_peer'])} "
            f"| {_times(row['times_peer_as_started'])} | {_whole(row['gflops'])} "
            f"| {_whole(memory)} | {_agreement(row['difference'])} |"
        )
    for row in group["rows"]:
        what = f"{row['name']}, {row['allocator']} allocator"
        if row.get("of_constant") is not None:
            lines.append(f"\nData: {what}: {row['of_constant']:.3f} of the rate on one batch.")
        if row["steady_seconds"] is not None:
            rate = run["steady"] / row["steady_seconds"]
            minutes = HOUR_OF_ITERATIONS / rate / 60
            lines.append(
                f"\nSteady: {what}: {rate:.3g} iterations/s over {run['steady']:,}; "
                f"{HOUR_OF_ITERATIONS:,} take {minutes:,.3g} minutes."
            )
        if row["evaluation_seconds"] is not None:
            tasks = f"{run['episodes']:,} tasks in {row['evaluation_seconds']:.3g} s"
            lines.append(f"\nEvaluation: {what}: {tasks}.")
    lines += [f"\nNot measured: {name}: {reason}" for name, reason in group["skipped"].items()]
    return lines


def _agreement(difference: float | None) -> str:
    if difference is None:
        return "not compared"
    return f"{'yes' if difference <= AGREES else 'NO'} ({difference:.0e})"


def _times(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _whole(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number > 1)}"
