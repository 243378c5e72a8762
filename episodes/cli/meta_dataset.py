"""`episodes prepare meta-dataset`: all sources that can be had, and what the others need."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from episodes.errors import EpisodesError

if TYPE_CHECKING:
    from episodes.prepare.meta_dataset import Outcome


def prepare_sources(
    chosen: Sequence[str], folder: Path | None, *, size: int | None, as_json: bool, **options: Any
) -> None:
    """Prepare the sources and print a line for each; raises EpisodesError naming those missing."""
    from episodes.prepare import meta_dataset
    from episodes.progress import preparation_progress

    outcomes = []
    with preparation_progress(enabled=not as_json) as progress:
        for outcome in meta_dataset.prepare_sources(
            chosen,
            folder,
            size=meta_dataset.SIZE if size is None else size,
            progress=progress,
            **options,
        ):
            outcomes.append(outcome)
            if not as_json:
                click.echo(_line(outcome), err=outcome.store is None)
    missing = [outcome.dataset for outcome in outcomes if outcome.store is None]
    if as_json:
        sources = [_described(outcome) for outcome in outcomes]
        click.echo(json.dumps({"sources": sources, "missing": missing}, indent=1))
    if missing:
        raise EpisodesError(
            f"{len(missing)} of {len(outcomes)} sources of Meta-Dataset are not prepared: "
            f"{', '.join(missing)}"
        )


def _line(outcome: "Outcome") -> str:
    store = outcome.store
    if store is None:
        return f"{outcome.dataset}: {outcome.problem}"
    shape = store.info.image_shape
    size = "x".join(map(str, shape)) if shape else "their own sizes"
    return (
        f"{outcome.dataset}: {store.name}, {len(store.class_names):,} classes, "
        f"{store.info.rows:,} images of {size}, in {store.path}"
    )


def _described(outcome: "Outcome") -> dict[str, Any]:
    from episodes.cli.describing import description

    if outcome.store is None:
        return {"dataset": outcome.dataset, "problem": outcome.problem}
    return {"dataset": outcome.dataset, "store": description(outcome.store)}
