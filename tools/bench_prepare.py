"""Measure a preparation: seconds, images a second, and peak private memory, beside plain decoding.

Example:

    python tools/bench_prepare.py miniimagenet ~/Downloads/mini-imagenet
"""

import multiprocessing
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import click

from episodes import images, manifest, readers
from episodes.prepare import prepare, sourcing

SECONDS_BETWEEN_LOOKS = 0.05


@dataclass(frozen=True)
class Measurement:
    """What one way of going through the images took."""

    what: str
    images: int
    seconds: float
    private_megabytes: float | None = None

    def line(self, reference: "Measurement") -> str:
        """A row of the table, with its speed as a multiple of the reference's."""
        rate = self.images / self.seconds
        ratio = rate / (reference.images / reference.seconds)
        memory = "" if self.private_megabytes is None else f"{self.private_megabytes:,.0f}"
        return f"| {self.what} | {self.seconds:.1f} | {rate:,.0f} | {ratio:.2f} | {memory} |"


def private_bytes(pid: int) -> int:
    """The anonymous memory of a process, which page cache and mapped files do not count to."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) << 10
    return 0


def decoded_alone(dataset: str, folder: Path, most: int) -> Measurement:
    """Reading, decoding and resizing in one thread, without keeping anything."""
    facts = manifest.load(dataset)
    source, folder = sourcing.find_source(facts, folder, None, "none")
    began, count = time.perf_counter(), 0
    for record in readers.reader_of(source)(facts, source, folder, False):
        encoded = record.image
        pixels = (
            images.decode(encoded, record.image_id, facts.image.channels)
            if isinstance(encoded, bytes)
            else images.as_channels(encoded, facts.image.channels)
        )
        images.resize(pixels, facts.image.size, facts.image.resize)
        count += 1
        if count == most:
            break
    return Measurement("decode and resize, 1 thread", count, time.perf_counter() - began)


def prepared(dataset: str, folder: Path, container: str, threads: int) -> Measurement:
    """A whole preparation in a process of its own, its memory looked at all the while."""
    home = Path(tempfile.mkdtemp(prefix="bench-prepare-"))
    process = multiprocessing.get_context("spawn").Process(
        target=prepare,
        args=(dataset, folder),
        kwargs={"home": home, "container": container, "threads": threads, "partial": True},
    )
    began, peak = time.perf_counter(), 0
    process.start()
    assert process.pid is not None
    while process.is_alive():
        try:
            peak = max(peak, private_bytes(process.pid))
        except FileNotFoundError:
            break
        time.sleep(SECONDS_BETWEEN_LOOKS)
    process.join()
    seconds = time.perf_counter() - began
    if process.exitcode:
        raise click.ClickException(f"the preparation of {dataset} failed")
    count = manifest.load(dataset).images
    shutil.rmtree(home)
    return Measurement(f"prepare, {container}, {threads} thread(s)", count, seconds, peak / 1e6)


@click.command()
@click.argument("dataset")
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.option("--sample", default=5000, show_default=True, help="Images of the reference.")
def main(dataset: str, folder: Path, sample: int) -> None:
    """Prepare DATASET from FOLDER in both formats and print a table of what it took."""
    threads = len(os.sched_getaffinity(0))
    reference = decoded_alone(dataset, folder, sample)
    click.echo("| | seconds | images/s | ratio | private MB |\n|---|---|---|---|---|")
    click.echo(reference.line(reference))
    for container, count in (("hdf5", threads), ("hdf5", 1), ("webdataset", threads)):
        click.echo(prepared(dataset, folder, container, count).line(reference))


if __name__ == "__main__":
    main()
