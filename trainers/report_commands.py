"""`trainers report`."""

import json
from pathlib import Path

import click

from episodes.cli import json_option
from trainers import machine


@click.command("report")
@click.argument("runs", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option(
    "--out", type=click.Path(path_type=Path), help="The HTML file to write [RUN/report.html]."
)
@click.option(
    "--episodes",
    type=click.IntRange(0),
    default=200,
    show_default=True,
    help="Test episodes of a run to evaluate again, for what is by class; 0 leaves that out.",
)
@json_option
def report_runs(runs: tuple[Path, ...], out: Path | None, episodes: int, as_json: bool) -> None:
    """Write one HTML page about RUNS, or all runs in a folder: results, curves, rates, episodes.

    The page is one file, which loads nothing else. Of a single run it shows the classes, and the
    hardest and the easiest episodes; of several the differences from the first.

    \b
    Example:
      trainers report runs/omniglot-5w1s-anil-personalized-seed1
      trainers report sweeps/rates --out rates.html
    """
    from trainers.html_report.writing import write_report
    from trainers.interrupt import Interrupt
    from trainers.progress import progress

    with machine.out_of_memory_told(), progress(Interrupt()) as shown:
        written = write_report(runs, out, episodes, shown)
    if as_json:
        click.echo(json.dumps(written, indent=1))
        return
    count = len(written["runs"])
    click.echo(f"report of {count} run{'s' * (count > 1)} -> {written['page']}")
