"""The commands that finish grids of runs."""

import json
from pathlib import Path
from typing import Any

import click

from episodes.cli import json_option
from trainers.options import given_settings, run_settings


@click.command("sweep")
@run_settings
@click.option(
    "--vary",
    multiple=True,
    metavar="SETTING=VALUE,...",
    help="A setting's values, all of which are tried with all of every other --vary; between "
    "values that have commas put semicolons.",
)
@click.option(
    "--seeds", type=click.IntRange(1), default=1, show_default=True, help="Seeds, from --seed on."
)
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="The folder of the runs."
)
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="What runs them: processes of this machine, or Ray.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1),
    help="Runs at a time on this machine; without --threads they share its cores.  [default: 1]",
)
@click.option("--address", help="A Ray cluster's address, or auto for the one that is found.")
@json_option
@click.pass_context
def sweep_settings(
    ctx: click.Context,
    vary: tuple[str, ...],
    seeds: int,
    out: Path,
    engine: str,
    jobs: int | None,
    address: str | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Run every combination of varied settings, times seeds, and tabulate them.

    Runs that are finished in OUT are kept, and those that were begun go on, so the same command
    continues a sweep that was stopped.

    \b
    Example:
      trainers sweep --algo maml --vary lr=fixed,alfa --vary shot=1,5 --seeds 2 --out sweeps/rates
      trainers sweep --vary inner-lr=0.01,0.1 --engine ray --address auto --out /shared/sweep
    """
    from episodes.errors import EpisodesError, UsageError
    from trainers.grids import sweep_table
    from trainers.grids.cluster import RayCluster
    from trainers.grids.grid import Engine, finish
    from trainers.grids.local import Local
    from trainers.grids.sweep import Sweep, variations
    from trainers.interrupt import Interrupted, endings_as_interrupts

    if address is not None and (engine, jobs) != ("ray", None):
        raise UsageError("--address is that of a Ray cluster: add --engine ray, without --jobs")
    sweep = Sweep(given_settings(settings), variations(vary), seeds)
    cells = [cell for settings in sweep.combinations() for cell in sweep.cells(settings)]
    runs_on: Engine = RayCluster(address, jobs or 1) if engine == "ray" else Local(jobs or 1)
    try:
        with endings_as_interrupts():
            failures = finish(cells, out, runs_on, lambda line: click.echo(line, err=True))
    except KeyboardInterrupt:
        done = sum(cell.directory(out).results.exists() for cell in cells)
        click.echo(
            f"interrupted: {done} of {len(cells)} cells are finished, the same command goes on",
            err=True,
        )
        ctx.exit(Interrupted.exit_code)
    rows = sweep_table.rows(sweep, out, failures)
    sweep_table.write(sweep, rows, out)
    click.echo(json.dumps(rows, indent=1) if as_json else sweep_table.markdown(sweep, rows))
    if failures:
        raise EpisodesError(
            f"{len(failures)} of {len(cells)} cells failed, what they said is in {out}/*.log: "
            "the same command tries them again"
        )
