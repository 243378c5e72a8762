"""Stream for long, and fail if memory, open files or threads grow.

One stream is read through by several threads. At every interval the store is also opened anew, a
loader of it is left half-way, and the last batch is compared with the store's own pixels. What the
last fifth of the intervals needed at most is compared with what the first fifth did.

Example:

    python tools/soak.py glyphs --episodes 20000
    python tools/soak.py miniimagenet --way 5 --shot 5 --episodes 2000000 --json soak.json
"""

import json
import os
import re
import threading
import time
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import click
import numpy as np
from streaming_bench.processes import private_bytes

import episodes
from episodes.episode import EpisodeBatch
from episodes.errors import EpisodesError
from episodes.stream import Stream

INTERVALS = 100
LEAST_INTERVALS = 10
LEFT_AFTER = 3


@dataclass(frozen=True)
class Look:
    """What the process had after so many episodes and seconds."""

    episodes: int
    seconds: float
    private_mb: float
    resident_mb: float
    descriptors: int
    threads: int

    def line(self) -> str:
        """A line for a person."""
        return (
            f"{self.episodes:>11,} episodes {self.seconds:>7,.0f} s   private "
            f"{self.private_mb:6.1f} MB   resident {self.resident_mb:7.1f} MB   "
            f"{self.descriptors} descriptors   {self.threads} threads"
        )


def look(count: int, began: float) -> Look:
    """The process as it is; raises ClickException where the system does not tell."""
    status = Path("/proc/self/status")
    private = private_bytes(os.getpid())
    if private is None or not status.exists():
        raise click.ClickException("this system does not tell a process's memory in /proc")
    resident = re.search(r"^VmRSS:\s+(\d+) kB$", status.read_text(), re.MULTILINE)
    assert resident is not None
    return Look(
        episodes=count,
        seconds=round(time.monotonic() - began, 1),
        private_mb=round(private / 1e6, 2),
        resident_mb=round(int(resident[1]) * 1024 / 1e6, 2),
        descriptors=len(os.listdir("/proc/self/fd")),
        threads=threading.active_count(),
    )


def grown(looks: list[Look], field: str) -> float:
    """By how much the last fifth's maximum of a field is above the first fifth's."""
    fifth = max(1, len(looks) // 5)
    values = [getattr(each, field) for each in looks]
    return float(max(values[-fifth:]) - max(values[:fifth]))


def check(stream: Stream, batch: EpisodeBatch) -> None:
    """Raises ClickException unless the batch's last episode is what the store has."""
    plan = stream.plan(int(batch.index[-1]))
    store = stream.stores[plan.source]
    for name in ("support", "query"):
        found = getattr(batch, f"{name}_images")[-1]
        if not np.array_equal(found, store.images(getattr(plan, f"{name}_rows"))):
            raise click.ClickException(f"episode {plan.index}: its {name} images are others")


def leave_a_loader(stream: Stream, threads: int) -> None:
    """Open the store again, begin a loader of the same episodes, and go away."""
    again = episodes.open(stream.stores[0].path)
    spec = stream.spec
    other = again.stream(stream.split, spec.way, spec.shot, spec.query, stream.seed)
    for _ in islice(other.loader(threads=threads), LEFT_AFTER):
        pass


@click.command(help=__doc__)
@click.argument("store")
@click.option("--split", default="train", show_default=True)
@click.option("--way", default=5, show_default=True)
@click.option("--shot", default=1, show_default=True)
@click.option("--query", default=15, show_default=True)
@click.option("--episodes", "count", default=2_000_000, show_default=True, help="How many.")
@click.option("--batch-size", default=2, show_default=True)
@click.option("--threads", default=2, show_default=True)
@click.option("--slack-mb", default=8.0, show_default=True, help="Growth of private memory.")
@click.option("--slack-files", default=2, show_default=True, help="Growth of descriptors.")
@click.option("--json", "to_json", type=click.Path(path_type=Path, dir_okay=False))
def main(
    store: str,
    split: str,
    way: int,
    shot: int,
    query: int,
    count: int,
    batch_size: int,
    threads: int,
    slack_mb: float,
    slack_files: int,
    to_json: Path | None,
) -> None:
    """Stream, tell what is needed at intervals, and exit with 1 if it grew beyond the slack."""
    try:
        stream = episodes.open(store).stream(split, way, shot, query, seed=1)
    except EpisodesError as error:
        raise click.ClickException(str(error)) from None
    interval = max(batch_size, count // INTERVALS)
    if count < LEAST_INTERVALS * interval:
        raise click.UsageError(f"{count} episodes; expected {LEAST_INTERVALS * batch_size} or more")
    looks: list[Look] = []
    began = time.monotonic()
    done = 0
    for batch in stream.batches(batch_size, stop=count, threads=threads):
        done += len(batch)
        if done >= interval * (len(looks) + 1):
            check(stream, batch)
            leave_a_loader(stream, threads)
            looks.append(look(done, began))
            click.echo(looks[-1].line())
    slack = {"private_mb": slack_mb, "descriptors": slack_files, "threads": 0}
    growth = {field: grown(looks, field) for field in slack}
    told = ", ".join(f"{field} {growth[field]:+.1f} (slack {slack[field]})" for field in slack)
    speed = done / looks[-1].seconds if looks[-1].seconds else float("nan")
    click.echo(f"{done:,} episodes, {speed:,.0f} a second; growth: {told}")
    if to_json is not None:
        results = {"episodes": done, "slack": slack, "growth": growth}
        to_json.write_text(json.dumps(results | {"looks": [asdict(each) for each in looks]}) + "\n")
    if any(growth[field] > slack[field] for field in slack):
        raise click.ClickException("it grows")


if __name__ == "__main__":
    main()
