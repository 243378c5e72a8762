"""`episodes export` and `stream`."""

import json
from pathlib import Path

import click

from episodes.cli.common import episode_options, human_bytes, json_option, was_given
from episodes.errors import UsageError

WITH_CHECK = {"name", "check_folder", "as_json"}
RECORDS = "tfrecord"
WITH_RECORDS = {"name", "size", "container", "out", "threads", "force", "as_json"}


@click.command()
@click.argument("name", required=False)
@episode_options
@click.option("--count", default=600, show_default=True, help="How many episodes, from the first.")
@click.option("--size", type=int, help="Edge in pixels, for a store whose images differ in size.")
@click.option(
    "--format",
    "container",
    default="plan",
    show_default=True,
    help="plan (names and hashes, no pixels), webdataset, hdf5 or arrow; or tfrecord.",
)
@click.option("--out", "-o", type=click.Path(path_type=Path), help="The folder to make.")
@click.option("--threads", default=1, show_default=True, help="Threads that read ahead.")
@click.option("--force", is_flag=True, help="Replace an export that is there.")
@click.option(
    "--check", "check_folder", type=click.Path(path_type=Path), help="Check this export instead."
)
@json_option
@click.pass_context
def export(
    context: click.Context,
    name: str | None,
    split: str,
    way: int,
    shot: int,
    query: int,
    seed: int,
    count: int,
    size: int | None,
    container: str,
    out: Path | None,
    threads: int,
    force: bool,
    check_folder: Path | None,
    as_json: bool,
) -> None:
    """Freeze a set of episodes of NAME, with its fingerprint, in a folder that any language reads.

    With --check FOLDER: compare the export there with its own hashes, and with the store that it is
    of: NAME, or the one of its name that is prepared here.

    With --format tfrecord: write no episodes but all of NAME, as Meta-Dataset's code reads it, a
    TFRecord file a class and dataset_spec.json.

    \b
    Example:
      episodes export omniglot --split test --way 5 --shot 1 --count 600 -o our-test-episodes
      episodes export --check our-test-episodes
      episodes export omniglot --format tfrecord -o records/omniglot
    """
    if check_folder is not None:
        _refuse_others(context, WITH_CHECK, "--check takes no {}: the export says what it holds")
        _check(check_folder, name, as_json)
        return
    if name is None or out is None:
        raise UsageError("type `episodes export NAME -o FOLDER`, or `... --check FOLDER`")

    if container == RECORDS:
        _refuse_others(
            context, WITH_RECORDS, f"--format {RECORDS} takes no {{}}: it writes the whole store"
        )
        _export_records(name, size, out, threads, force, as_json)
        return

    import episodes
    from episodes.export import export as export_episodes
    from episodes.progress import preparation_progress

    stream = episodes.open(name, size=size).stream(split, way, shot, query, seed)
    with preparation_progress(enabled=not as_json) as progress:
        info = export_episodes(
            stream, count, out, container, progress, threads=threads, force=force
        )
    if info.licence_note:
        click.echo(f"note: {info.licence_note}", err=True)
    if as_json:
        click.echo(json.dumps(info.as_json, indent=1))
        return
    size_in_words = human_bytes(sum(file.bytes for file in info.files))
    click.echo(f"{stream!r}: {count:,} episodes in {out} ({container}, {size_in_words})")
    for mark in info.marks:
        click.echo(f"  NOT THE WHOLE DATASET: {mark}")
    click.echo(f"  fingerprint {info.fingerprint}")


@click.command()
@click.argument("name")
@episode_options
@click.option("--start", default=0, show_default=True, help="The first episode.")
@click.option("--stop", type=int, help="The episode to stop before (default: none, go on).")
@click.option("--size", type=int, help="Edge in pixels, for a store whose images differ in size.")
@click.option("--format", "container", default="tar", show_default=True, help="tar or arrow.")
@click.option("--threads", default=1, show_default=True, help="Threads that read ahead.")
def stream(
    name: str,
    split: str,
    way: int,
    shot: int,
    query: int,
    seed: int,
    start: int,
    stop: int | None,
    size: int | None,
    container: str,
    threads: int,
) -> None:
    """Write episodes of NAME to standard output, one after the other, until the reader closes it.

    \b
    Example:
      episodes stream glyphs --way 5 --shot 1 --format tar --stop 100 | tar tf -
    """
    import episodes
    from episodes.export.piping import pour, standard_output, streamed

    out = standard_output()
    chosen = episodes.open(name, size=size).stream(split, way, shot, query, seed)
    pour(streamed(chosen, container, start, stop, threads), out)


def _refuse_others(context: click.Context, taken: set[str], refusal: str) -> None:
    """Raises UsageError for an option that was given and is none of those that are taken."""
    for parameter in context.command.params:
        if was_given(context, parameter.name or "") and parameter.name not in taken:
            raise UsageError(refusal.format(parameter.opts[0]))


def _export_records(
    name: str, size: int | None, out: Path, threads: int, force: bool, as_json: bool
) -> None:
    import episodes
    from episodes.export.tfrecord import export_records
    from episodes.progress import preparation_progress

    store = episodes.open(name, size=size)
    with preparation_progress(enabled=not as_json) as progress:
        info = export_records(store, out, progress, threads=threads, force=force)
    if info.licence_note:
        click.echo(f"note: {info.licence_note}", err=True)
    if as_json:
        click.echo(json.dumps(info.as_json, indent=1))
        return
    click.echo(f"{store!r}: {info.images:,} images in {out} ({info.classes:,} TFRecord files)")
    for departure in info.departures:
        click.echo(f"  not as Meta-Dataset converts: {departure}")


def _check(folder: Path, name: str | None, as_json: bool) -> None:
    import episodes
    from episodes.export import check, read_info
    from episodes.export.checking import stores_at_hand
    from episodes.export.description import PLAN

    if name is not None:
        stores, why_not = [episodes.open(name)], ""
    else:
        stores, why_not = stores_at_hand(read_info(folder))
    info = check(folder, stores or None)
    recomputed = [f"the store {store.name}" for store in stores]
    if info.container == PLAN:
        recomputed.insert(0, "the names in the plan")
    if as_json:
        told = {"folder": str(folder), "fingerprint": info.fingerprint, "whole": True}
        click.echo(json.dumps(told | {"recomputed_from": recomputed}))
        return
    click.echo(f"{folder}: {info.count:,} episodes, {len(info.files)} file(s) as recorded")
    click.echo(f"  fingerprint {info.fingerprint}")
    if recomputed:
        click.echo(f"  recomputed from {' and '.join(recomputed)}")
    if why_not:
        click.echo(f"  not recomputed from the store: {why_not}")
