"""The `trainers` command line."""

import json
from pathlib import Path
from typing import Any

import click

from episodes.cli import ErrorLineGroup, json_option
from trainers import machine
from trainers.grid_commands import sweep_settings
from trainers.model_commands import adapt_to_images, classify_one_shot_runs, export_run
from trainers.options import (
    PresetName,
    allow_overlap_option,
    evaluation_settings,
    given_settings,
    run_settings,
)
from trainers.report_commands import report_runs
from trainers.table_commands import make_table


@click.group(cls=ErrorLineGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="fewshot-episodes", prog_name="trainers")
def main() -> None:
    """Reference trainers for gradient-based meta-learning.

    \b
    Example:
      trainers run --algo anil --lr personalized
      trainers eval runs/glyphs-5w1s-anil-personalized-seed1 --split val
    """
    machine.let_waiting_threads_sleep()
    machine.keep_freed_memory()


@main.command()
@run_settings
@click.option("--out", type=click.Path(path_type=Path), help="The run directory.")
@click.option(
    "--resume", type=click.Path(path_type=Path), help="Continue the run in this directory."
)
@click.option("--config", type=click.Path(path_type=Path), help="Rerun a config.toml; flags win.")
@click.option("--preset", type=PresetName(), help="A paper's whole protocol; flags win.")
@click.option(
    "--track",
    type=click.Choice(["tensorboard", "wandb", "mlflow"]),
    help="Tell this tool of the figures too, in a folder of the run directory.",
)
@json_option
@click.pass_context
def run(
    ctx: click.Context,
    out: Path | None,
    resume: Path | None,
    config: Path | None,
    preset: str | None,
    track: str | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Train, and test the best checkpoint.

    \b
    Example:
      trainers run --algo maml --lr fixed --inner-lr 0.01 --dataset omniglot
      trainers run --resume runs/omniglot-5w1s-maml-fixed-seed1
      torchrun --nproc-per-node 2 --max-restarts 3 -m trainers run --algo maml --out run
    """
    from episodes.errors import UsageError

    if resume is not None and (out is not None or config is not None or preset is not None):
        raise UsageError(
            "--resume continues a run where it is: leave out --out, --config and --preset"
        )
    if config is not None and preset is not None:
        raise UsageError("--config and --preset both give a whole protocol: leave one out")

    from trainers import lifecycle
    from trainers.group import is_restarted, ranks
    from trainers.interrupt import Interrupt, Interrupted
    from trainers.progress import progress
    from trainers.run_directory import RunDirectory
    from trainers.tracking import opener

    given = given_settings(settings)
    open_tracker = None if track is None else opener(track)
    try:
        with (
            machine.out_of_memory_told(),
            ranks() as group,
            progress(Interrupt(), group.is_first) as shown,
        ):
            if resume is None and out is not None and is_restarted():
                resume = group.of_first(lambda: out if RunDirectory(out).config.exists() else None)
            if resume is not None:
                directory, results = lifecycle.resume(resume, given, shown, group, open_tracker)
            else:
                directory, results = lifecycle.begin(
                    given, config or preset, out, shown, group, open_tracker
                )
    except Interrupted as interrupted:
        click.echo(str(interrupted), err=True)
        ctx.exit(interrupted.exit_code)
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        ctx.exit(Interrupted.exit_code)
    if results:  # Of several ranks the first has them.
        _print_results(results, str(directory.path), as_json)


@main.command("eval")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("more", nargs=-1, metavar="[DATASET]...")
@click.option(
    "--dataset",
    multiple=True,
    metavar="DATASET...",
    help="Another dataset, or the path of a store; of several each is evaluated on.",
)
@click.option("--split", default="test", show_default=True, help="[SCHEME.]PART of the dataset.")
@click.option(
    "--checkpoints",
    type=click.Choice(["best", "top10-mean", "top5-ensemble"]),
    default="best",
    show_default=True,
    help="The best by validation; the mean of the ten best ones' figures; or the five best ones' "
    "outputs averaged.",
)
@allow_overlap_option
@evaluation_settings
@json_option
def evaluate(
    run: Path,
    more: tuple[str, ...],
    dataset: tuple[str, ...],
    split: str,
    checkpoints: str,
    allow_overlap: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Evaluate the best checkpoint of RUN; what is not given is as in the run.

    \b
    Example:
      trainers eval runs/omniglot-5w1s-anil-personalized-seed1 --dataset glyphs
      trainers eval runs/mini --dataset cub aircraft dogs
    """
    from trainers.assessment import evaluate_run
    from trainers.interrupt import Interrupt
    from trainers.progress import progress

    given, several = given_settings(settings), []
    for name in (*dataset, *more) or (None,):
        with machine.out_of_memory_told(), progress(Interrupt()) as shown:
            written, results = evaluate_run(
                *(run, name, split, given, shown),
                allow_overlap=allow_overlap,
                checkpoints=checkpoints,
            )
        several.append(results)
        if not as_json:
            _print_results(results, str(written), as_json)
    if as_json:
        click.echo(json.dumps(several if len(several) > 1 else several[0], indent=1))


@main.command("sources")
@click.argument("runs", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option(
    "--sources", required=True, help="Datasets, or paths of stores, with commas between them."
)
@click.option("--episodes", type=int, default=600, show_default=True, help="Episodes a source.")
@click.option(
    "--beside", type=click.Path(path_type=Path), help="A JSON file of such a table, a paper's."
)
@allow_overlap_option
@json_option
def sources(
    runs: tuple[Path, ...],
    sources: str,
    episodes: int,
    beside: Path | None,
    allow_overlap: bool,
    as_json: bool,
) -> None:
    """Compare RUNS on the test classes of several sources, with Meta-Dataset's ranks.

    \b
    Example:
      trainers sources runs/a runs/b --sources omniglot,aircraft,cub
    """
    from trainers import source_table
    from trainers.interrupt import Interrupt
    from trainers.progress import progress

    with machine.out_of_memory_told(), progress(Interrupt()) as shown:
        table = source_table.measure(
            runs, sources.split(","), {"episodes": episodes}, shown, allow_overlap
        )
    if as_json:
        click.echo(json.dumps(table.figures(), indent=1))
        return
    click.echo(table.markdown())
    if beside is not None:
        click.echo(f"\n{source_table.published(beside).markdown()}")


@main.command("compare")
@click.argument("runs", type=click.Path(path_type=Path), nargs=-1, required=True)
@json_option
def compare_runs(runs: tuple[Path, ...], as_json: bool) -> None:
    """Compare RUNS with the first of them, on the same test episodes.

    \b
    Example:
      trainers compare runs/a runs/b
    """
    from trainers import comparison

    rows = comparison.compare(runs)
    click.echo(json.dumps(rows, indent=1) if as_json else comparison.markdown(rows))


@main.command("list")
@json_option
def list_names(as_json: bool) -> None:
    """List the algorithms, rate schemes, backbones, samplers, regularizers and presets.

    \b
    Example:
      trainers list --json
    """
    from dataclasses import asdict

    from trainers import catalog
    from trainers.presets import PRESETS
    from trainers.settings import dashed

    tables = {catalog.KINDS[setting]: table for setting, table in catalog.TABLES.items()}
    flags = {catalog.KINDS[setting]: f" (--{dashed(setting)})" for setting in catalog.TABLES}
    tables |= {
        "regression tasks": catalog.FAMILIES,
        "other regularizers": catalog.OTHER_REGULARIZERS,
        "preset": PRESETS,
    }
    flags |= {"regression tasks": " (--dataset)", "preset": " (--preset)"}
    if as_json:
        listed = {
            kind: [asdict(entry) for entry in table.values()] for kind, table in tables.items()
        }
        click.echo(json.dumps(listed, indent=1))
        return
    for kind, table in tables.items():
        click.echo(f"{kind}{flags.get(kind, '')}")
        for entry in table.values():
            click.echo(f"  {entry.name:<20} {entry.summary}")
            settings = {**entry.settings, **entry.changes}
            defaults = ", ".join(f"{name} = {value}" for name, value in settings.items())
            click.echo(f"  {'':<20} {entry.source}{'; ' if defaults else ''}{defaults}")


main.add_command(export_run)
main.add_command(adapt_to_images)
main.add_command(classify_one_shot_runs)
main.add_command(sweep_settings)
main.add_command(make_table)
main.add_command(report_runs)


def _print_results(results: dict[str, Any], place: str, as_json: bool) -> None:
    from trainers import report

    if as_json:
        click.echo(json.dumps(results, indent=1))
        return
    for warning in results["warnings"]:
        click.echo(f"warning: {warning}", err=True)
    notes = report.notes(results)
    click.echo(report.final_line(results["test"], results["bn"], place, notes))
