"""The command that makes a paper's table beside ours."""

import json
from pathlib import Path
from typing import Any

import click

from episodes.cli import json_option
from trainers import machine
from trainers.options import allow_overlap_option, given_settings, machine_settings


@click.command("table")
@click.argument("name", required=False)
@click.option(
    "--cells", multiple=True, metavar="GLOB", help="Only cells of such names, as --list has them."
)
@click.option(
    "--budget",
    metavar="TIME|ITERATIONS",
    help="As many iterations for each chosen cell: '2000 iterations', or what '30min' or '2h' of "
    "training in all come to; they are marked.",
)
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True, help="From 1 on.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("tables"),
    show_default=True,
    help="The folder of the table and of its runs, which tables share.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Runs at a time; without --threads they share the cores.",
)
@click.option("--list", "only_list", is_flag=True, help="List the chosen cells; train nothing.")
@machine_settings
@allow_overlap_option
@json_option
@click.pass_context
def make_table(
    ctx: click.Context,
    name: str | None,
    cells: tuple[str, ...],
    budget: str | None,
    seeds: int,
    out: Path,
    jobs: int,
    only_list: bool,
    allow_overlap: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Train and test the cells of a paper's table, and print its figures beside ours.

    Without NAME the tables are listed. Runs that are finished in OUT are kept, and those that were
    begun go on, so the same command continues a table that was stopped.

    \b
    Example:
      trainers table
      trainers table mlplr-1 --list
      trainers table mlplr-1 --cells 'miniImageNet 5-way 1-shot ANIL*' --budget '2000 iterations'
      trainers table alfa-8 --seeds 3 --jobs 2
    """
    from trainers.tables import listing, preparing
    from trainers.tables import table as tables

    if name is None:
        _list_tables(as_json)
        return
    table = tables.load(name)
    chosen = preparing.with_own_images(table.chosen(cells))
    if only_list:
        listed = listing.as_data(chosen)
        click.echo(json.dumps(listed, indent=1) if as_json else listing.as_text(chosen))
        return

    from episodes.errors import EpisodesError
    from trainers.grids.local import Local
    from trainers.interrupt import Interrupt, Interrupted, endings_as_interrupts
    from trainers.progress import progress
    from trainers.tables import planning, writing
    from trainers.tables.budget import Budget
    from trainers.tables.making import Request
    from trainers.tables.outcome import outcomes

    request = Request(
        table,
        tuple(chosen),
        out,
        seeds,
        None if budget is None else Budget.of(budget),
        given_settings(settings),
        jobs,
    )
    preparing.check_prepared(name, request.runnable)
    planning.check(name, request.runnable, allow_overlap)
    engine = Local(jobs)
    try:
        with endings_as_interrupts():
            iterations = request.iterations(engine, _say)
            failures = request.train(iterations, engine, _say)
            with machine.out_of_memory_told(), progress(Interrupt()) as shown:
                found = outcomes(request, iterations, failures, allow_overlap, shown)
    except KeyboardInterrupt:
        click.echo("interrupted: the same command goes on", err=True)
        ctx.exit(Interrupted.exit_code)
    writing.write(request, found)
    as_data = writing.as_data(request, found)
    click.echo(json.dumps(as_data, indent=1) if as_json else writing.markdown(request, found))
    _say(f"written to {out / name}.md, .csv, .json and .png")
    if failed := [why for outcome in found for why in outcome.failures]:
        raise EpisodesError(
            f"{len(failed)} runs have no figure, the first for: {failed[0]} (what runs said is in "
            f"{request.runs}/*.log): the same command tries them again"
        )


def _say(line: str) -> None:
    click.echo(line, err=True)


def _list_tables(as_json: bool) -> None:
    from trainers.tables import table as tables

    found = [tables.load(name) for name in tables.names()]
    if as_json:
        told = [{"name": t.name, "title": t.title, "cells": len(t.cells)} for t in found]
        click.echo(json.dumps(told, indent=1))
        return
    for table in found:
        click.echo(f"{table.name:<21} {len(table.cells):>3} cells  {table.title}")
