"""A process that opens one way to episodes and times it whenever it is told to.

It takes a job as JSON in its argument, says in a line of JSON how it started, then answers each
line of its standard input, a number of seconds, with what it counted meanwhile.
"""

import importlib
import json
import os
import sys
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

WARM_UP = 0.25  # of the measurement, and left out of it


def main() -> None:
    """Serve until the standard input ends."""
    # What loaders print must not come between the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    job = json.loads(sys.argv[1])
    try:
        feed, started = start(job)
    except Exception as error:
        kind = type(error).__name__
        missing = isinstance(error, ImportError) or kind in ("Skipped", "AdapterMissing")
        told = {"skipped" if missing else "failed": f"{kind}: {error}"}
        print(json.dumps(told), file=answers)
        raise
    print(json.dumps(started), file=answers)
    for line in sys.stdin:
        print(json.dumps(measure(feed, job["image_shape"], float(line))), file=answers)


def start(job: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The feed, and what is to be told of it: how long its first delivery took, and what it is."""
    from streaming_bench.task import Task, images_in

    module, function = job["feed"].split(".")
    opened = getattr(importlib.import_module(f"streaming_bench.{module}"), function)
    task = Task(**job["task"])
    files = () if job["files"] is None else (Path(job["files"]),)
    began = time.perf_counter()
    feed = opened(task, *files, **job["options"])
    deliveries = feed()
    first = next(deliveries)
    seconds = time.perf_counter() - began
    if images_in(first, job["image_shape"]) % task.images:
        raise ValueError(f"{images_in(first, job['image_shape'])} images are no whole episodes")
    _close(deliveries)
    return feed, {
        "first_ms": 1e3 * seconds,
        "shapes": [list(array.shape) for array in first],
        "dtype": str(first[0].dtype).removeprefix("torch."),
        "version": _version(job["needs"]),
    }


def measure(feed: Any, image_shape: list[int], seconds: float) -> dict[str, float]:
    """The images that were delivered in about that many seconds, after a warm-up."""
    from streaming_bench.task import images_in

    deliveries = feed()
    clock = time.perf_counter
    warm = clock() + WARM_UP * seconds
    for _ in deliveries:
        if clock() >= warm:
            break
    images, shape = 0, tuple(image_shape)
    worked, began = time.process_time(), clock()
    now = began
    for delivery in deliveries:
        images += images_in(delivery, shape)
        now = clock()
        if now - began >= seconds:
            break
    worked = time.process_time() - worked
    _close(deliveries)
    return {"images": images, "seconds": now - began, "cpu_seconds": worked}


def _close(deliveries: Iterator[Any]) -> None:
    if hasattr(deliveries, "close"):
        deliveries.close()


def _version(package: str | None) -> str | None:
    try:
        return None if package is None else version(package)
    except PackageNotFoundError:
        return "from source"


if __name__ == "__main__":
    main()
