"""`trainers export`, `adapt` and `one-shot`."""

import json
from pathlib import Path
from typing import Any

import click

from episodes.cli import json_option
from trainers import machine
from trainers.options import allow_overlap_option

steps_option = click.option("--steps", type=int, help="Inner steps [as in the run's tests].")
bn_option = click.option(
    "--bn",
    type=click.Choice(["batch", "support"]),
    help="What normalises query images: each other, or the support set [as in the run].",
)


@click.command("export")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="The folder to make [RUN/model].")
@click.option(
    "--checkpoint",
    default="best",
    show_default=True,
    help="best by validation, last, or an iteration that is kept.",
)
def export_run(run: Path, out: Path | None, checkpoint: str) -> None:
    """Write the model of RUN to a folder: weights, settings, and a card that says what it is.

    \b
    Example:
      trainers export runs/omniglot-5w1s-anil-personalized-seed1 --out omniglot-model
    """
    from trainers.model_files import export

    written, notes = export(run, out, checkpoint)
    for note in notes:
        click.echo(f"note: {note}", err=True)
    click.echo(f"model of {run} -> {written}")


@click.command("adapt")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--support",
    type=click.Path(path_type=Path),
    required=True,
    help="A folder with a folder of labelled images for each class.",
)
@click.option(
    "--query",
    type=click.Path(path_type=Path),
    required=True,
    help="A folder of images to classify; in folders of the same names, to be measured.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default="adapted",
    show_default=True,
    help="The folder of predictions.csv and predictions.png.",
)
@steps_option
@bn_option
@json_option
def adapt_to_images(
    model: Path,
    support: Path,
    query: Path,
    out: Path,
    steps: int | None,
    bn: str | None,
    as_json: bool,
) -> None:
    """Classify your own images by MODEL, a run or an exported model, from a few labelled ones.

    \b
    Example:
      trainers adapt omniglot-model --support labelled --query unknown
    """
    from trainers.own_task import adapt_to_folders

    with machine.out_of_memory_told():
        results = adapt_to_folders(model, support, query, out, steps, bn)
    if as_json:
        click.echo(json.dumps(results, indent=1))
        return
    for note in results["notes"]:
        click.echo(f"note: {note}", err=True)
    for line in _lines(results):
        click.echo(line)


@click.command("one-shot")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("runs", type=click.Path(path_type=Path))
@steps_option
@bn_option
@allow_overlap_option
@json_option
def classify_one_shot_runs(
    model: Path, runs: Path, steps: int | None, bn: str | None, allow_overlap: bool, as_json: bool
) -> None:
    """The error of MODEL on Lake's 20-way one-shot RUNS, his all_runs.zip or its folder.

    \b
    Example:
      trainers one-shot runs/omniglot-20w1s-protonet-none-seed1 all_runs.zip
    """
    from trainers.one_shot import evaluate_on_runs

    with machine.out_of_memory_told():
        results = evaluate_on_runs(model, runs, steps, bn, allow_overlap)
    if as_json:
        click.echo(json.dumps(results, indent=1))
        return
    for kind in ("warning", "note"):
        for line in results[f"{kind}s"]:
            click.echo(f"{kind}: {line}", err=True)
    for name, accuracy in results["runs"].items():
        click.echo(f"  {name}  {100 * accuracy:3.0f} %")
    right, trials = results["right"], results["trials"]
    click.echo(
        f"accuracy {100 * results['accuracy']:.2f} ± {100 * results['interval']:.2f} % over "
        f"{len(results['runs'])} runs of 20-way 1-shot, error {100 * results['error']:.2f} % "
        f"({trials - right} of {trials}; bn {results['bn']}) -> {results['file']}"
    )


def _lines(results: dict[str, Any]) -> list[str]:
    width = max(map(len, results["classes"]))
    lines = []
    for name, counts in results["classes"].items():
        found = f"{counts['predicted']} predicted"
        if "right" in counts:
            found = f"{counts['right']} of {counts['query']} right, {found}"
        lines.append(f"  {name:<{width}}  {counts['support']} labelled, {found}")
    said = f"{results['query']} images classified"
    if results["accuracy"] is not None:
        said = (
            f"accuracy {100 * results['accuracy']:.2f} % ({results['right']} of {results['query']})"
        )
    return [*lines, f"{said}, {len(results['classes'])} classes -> {', '.join(results['files'])}"]
