"""Measure how fast episodes come: this library, the limits of the machine, and other libraries.

Each TASK is STORE:WAY:SHOT:QUERY. Beside a store of pixels stand a compiled loop that only copies
the rows, and the peers that are installed; beside a store of files stands decoding alone. Each row
has a process of its own; all are timed in turn, in rounds of shuffled order.

Example:

    python tools/bench_streaming.py glyphs:5:1:15 --json glyphs.json
    python tools/bench_streaming.py --from glyphs.json --table glyphs.md --plot glyphs.png
"""

import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
from streaming_bench import report
from streaming_bench.running import Settings, run
from streaming_bench.task import Task

from episodes.errors import EpisodesError


class TaskType(click.ParamType):
    """STORE:WAY:SHOT:QUERY."""

    name = "task"

    def convert(self, value: Any, parameter: Any, context: Any) -> Task:
        """The task that the text says."""
        try:
            return value if isinstance(value, Task) else Task.parse(value)
        except ValueError as error:
            self.fail(str(error), parameter, context)


@click.command(help=__doc__)
@click.argument("tasks", nargs=-1, type=TaskType())
@click.option("--rounds", default=7, show_default=True, help="How often each row is timed.")
@click.option("--seconds", default=1.0, show_default=True, help="How long each time.")
@click.option("--starts", default=1, show_default=True, help="Starts of what starts in 2 s.")
@click.option(
    "--patience", default=0, show_default=True, help="Repetitions of what others disturbed."
)
@click.option("--only", multiple=True, help="Only rows with this in their names; repeatable.")
@click.option(
    "--peers-python",
    default=sys.executable,
    help="The Python that has the peers (default: this one).",
)
@click.option("--files", help="A store whose image files the peers are to read (default: PNGs).")
@click.option(
    "--scratch",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the peers' files are made, and found again (default: a temporary folder).",
)
@click.option("--from", "found", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--json", "to_json", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--table", "to_table", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--plot", "to_plot", type=click.Path(path_type=Path, dir_okay=False))
def main(
    tasks: tuple[Task, ...],
    rounds: int,
    seconds: float,
    starts: int,
    patience: int,
    only: tuple[str, ...],
    peers_python: str,
    files: str | None,
    scratch: Path | None,
    found: Path | None,
    to_json: Path | None,
    to_table: Path | None,
    to_plot: Path | None,
) -> None:
    """Measure, or read an earlier run's JSON with --from; write JSON, table and plot."""
    if bool(tasks) == (found is not None):
        raise click.UsageError("give tasks, such as glyphs:5:1:15, or else --from JSON")
    with ExitStack() as stack:
        if found is not None:
            results = json.loads(found.read_text())
        else:
            folder = scratch or Path(stack.enter_context(tempfile.TemporaryDirectory()))
            folder.mkdir(parents=True, exist_ok=True)
            settings = Settings(
                rounds, seconds, starts, patience, peers_python, files, folder, only
            )
            try:
                measured = run(list(tasks), settings, lambda line: click.echo(line, err=True))
            except EpisodesError as error:
                raise click.ClickException(str(error)) from None
            results = report.as_json(measured, settings)
    if to_json is not None:
        to_json.write_text(json.dumps(results, indent=1) + "\n")
    text = report.table(results)
    if to_table is not None:
        picture = "" if to_plot is None else f"![Episodes per second]({to_plot.name})\n\n"
        to_table.write_text(f"# Streaming\n\n{picture}{text}\n")
    if to_plot is not None:
        report.plot(results, to_plot)
    click.echo(text)


if __name__ == "__main__":
    main()
