"""Collect finished runs into docs/results/NAME.json and a table, docs/results/NAME.md.

Example:

    python tools/collect_results.py omniglot "Omniglot, 5-way 1-shot" runs/omniglot-*
"""

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

FOLDER = Path(__file__).parent.parent / "docs" / "results"
KEPT = (
    "test",
    "validation",
    "checkpoint",
    "rates",
    "warnings",
    "splits",
    "bn",
    "seeds",
    "config",
    "store",
    "versions",
    "hardware",
    "seconds",
)
SHOWN_SETTINGS = (
    "dataset",
    "algo",
    "lr",
    "inner_lr",
    "lr_min",
    "lr_max",
    "way",
    "shot",
    "query",
    "train_query",
    "steps",
    "eval_steps",
    "meta_batch_size",
    "iterations",
    "validate_every",
    "val_episodes",
    "downsample",
    "bn",
    "seed",
    "threads",
)
COLUMNS = (
    "algorithm",
    "rates",
    "meta-batch",
    "iterations",
    "steps",
    "test accuracy, %",
    "training, min",
)


def command(config: Mapping[str, Any]) -> str:
    """The command line that reruns a run with these settings."""
    flags = [
        f"--{name.replace('_', '-')} {shlex.quote(str(config[name]))}"
        for name in SHOWN_SETTINGS
        if config.get(name) is not None
    ]
    return " ".join(["trainers run", *flags])


def row(results: Mapping[str, Any]) -> list[str]:
    """The cells of a run's row."""
    config, test = results["config"], results["test"]
    if config["lr"] == "fixed":
        rates = f"fixed {config['inner_lr']:g}"
    else:
        rates = f"{config['lr']} {config['lr_min']:g} to {config['lr_max']:g}"
    network = "" if config["downsample"] == "pool" else ", strided"
    return [
        config["algo"] + network,
        rates,
        str(config["meta_batch_size"]),
        str(config["iterations"]),
        f"{config['steps']} / {config['eval_steps']}",
        f"{100 * test['accuracy']:.2f} ± {100 * test['interval']:.2f}",
        f"{results['seconds']['training'] / 60:.0f}",
    ]


def table(runs: Sequence[Mapping[str, Any]]) -> str:
    """The Markdown table of the runs."""
    rows = [list(COLUMNS), ["---"] * len(COLUMNS), *map(row, runs)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def page(title: str, runs: Sequence[Mapping[str, Any]], note: str | None) -> str:
    """The Markdown page of the runs: table, note, what was measured on, and the commands."""
    first = runs[0]
    test, hardware = first["test"], first["hardware"]
    lines = [
        f"# {title}",
        "",
        f"{test['way']}-way {test['shot']}-shot on `{test['dataset']} {test['split']}`, "
        f"{test['query']} query images a class, batch norm `{first['bn']}`; the best checkpoint by "
        f"validation on the same {test['episodes']} test episodes (episode seed "
        f"{test['episode_seed']}) for every row; 95 % intervals; steps: training / evaluation.",
        "",
        table(runs),
        "",
        f"Episodes: `{test['fingerprint']}`. Store: `{test['store_digest']}`.",
        f"Hardware: {hardware['cpu']}, {hardware['cores']} cores shared with other work, "
        f"{hardware['threads']} thread(s) a run; torch {first['versions']['torch']}.",
        "",
    ]
    if note:
        lines += [note, ""]
    warnings = [
        f"- {run['config']['algo']}, {run['config']['lr']}: {warning}"
        for run in runs
        for warning in run["warnings"]
    ]
    if warnings:
        lines += ["What the runs warned of:", "", *warnings, ""]
    lines += ["Commands:", "", "```text", *(command(run["config"]) for run in runs), "```", ""]
    return "\n".join(lines)


@click.command()
@click.argument("name")
@click.argument("title")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--note", help="What a reader of the page must know.")
def main(name: str, title: str, runs: tuple[Path, ...], note: str | None) -> None:
    """Collect the results.json of RUNS under NAME and TITLE."""
    if unfinished := [str(run) for run in runs if not (run / "results.json").exists()]:
        raise click.ClickException(f"no results.json in {', '.join(unfinished)}: finish them first")
    found = [json.loads((run / "results.json").read_text()) for run in runs]
    fingerprints = {results["test"]["fingerprint"] for results in found}
    if len(fingerprints) != 1:
        raise click.ClickException(f"the runs differ in their test episodes: {fingerprints}")
    FOLDER.mkdir(exist_ok=True)
    for run in found:
        run["hardware"].pop("system", None)
    kept = [{"command": command(run["config"])} | {key: run[key] for key in KEPT} for run in found]
    (FOLDER / f"{name}.json").write_text(json.dumps(kept, indent=1) + "\n")
    (FOLDER / f"{name}.md").write_text(page(title, found, note))
    click.echo(table(found))


if __name__ == "__main__":
    main()
