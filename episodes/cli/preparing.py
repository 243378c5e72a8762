"""`episodes prepare`."""

import functools
from pathlib import Path
from typing import Any

import click

from episodes.cli import own_data
from episodes.cli.common import json_option
from episodes.cli.describing import description, report
from episodes.errors import UsageError

BYTES_OF = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}

SHIPPED, META, OWN = own_data.SHIPPED, own_data.META, own_data.OWN

option_for = functools.partial(click.option, cls=own_data.OptionFor)
shipped_option = functools.partial(option_for, takers=(SHIPPED,))
single_option = functools.partial(option_for, takers=(SHIPPED, *OWN))


def number_of_bytes(text: str) -> int:
    """ "256MB", "1.5G" or "1000000" as a number of bytes; raises UsageError."""
    number = text.strip().lower().removesuffix("b")
    unit = number[-1:] if number[-1:] in "kmg" else ""
    try:
        count = int(float(number.removesuffix(unit)) * BYTES_OF[unit])
    except (ValueError, OverflowError):
        raise UsageError(f"--shard-size is {text!r}; expected a size such as 256MB") from None
    if count < 1:
        raise UsageError(f"--shard-size is {text!r}; expected 1 byte or more")
    return count


@click.command(cls=own_data.PrepareCommand)
@click.argument("name")
@click.argument("path", required=False, type=click.Path(path_type=Path))
@option_for(
    "--from",
    "source",
    takers=(SHIPPED, META),
    type=click.Path(path_type=Path),
    help="Folder of the archives, of what they extract to, or of a Meta-Dataset conversion "
    "(default: fetch them).",
)
@option_for("--sources", multiple=True, takers=(META,), help="Only these, with commas between.")
@shipped_option(
    "--source", "variant", help="Which of the dataset's sources (default: what is there)."
)
@click.option(
    "--size", type=int, help="Edge in pixels (default: the dataset's; 84 for meta-dataset and own)."
)
@single_option("--resize", help="Resize method (default: the dataset's).")
@shipped_option(
    "--crop", default="none", show_default=True, help="none, or box: cut to the object."
)
@single_option("--rotations", is_flag=True, help="Add each class turned by 90, 180, 270 degrees.")
@shipped_option("--drop-twins", is_flag=True, help="Leave out images that another dataset has too.")
@click.option(
    "--format",
    "container",
    help="hdf5, webdataset, or npy: the source's own arrays, not copied (default: npy where there "
    "are such, else hdf5); of a conversion also tfrecord: its own files, not copied.",
)
@click.option(
    "--encoding", default="raw", show_default=True, help="or original: keep the files as they are."
)
@click.option("--shard-size", default="1GB", show_default=True, help="Most bytes in a shard.")
@shipped_option("--partial", is_flag=True, help="Make a store of what is there, marked as partial.")
@click.option("--skip-corrupt", is_flag=True, help="Leave out, and list, what does not decode.")
@click.option("--threads", type=int, help="Decoding threads (default: one a core).")
@click.option("--offline", is_flag=True, help="Fetch nothing.")
@single_option("--out", type=click.Path(path_type=Path), help="The store's folder.")
@click.option("--force", is_flag=True, help="Replace a store that is there.")
@own_data.own_options
@json_option
@click.pass_context
def prepare(
    context: click.Context,
    name: str,
    path: Path | None,
    source: Path | None,
    sources: tuple[str, ...],
    variant: str | None,
    crop: str,
    drop_twins: bool,
    partial: bool,
    shard_size: str,
    offline: bool,
    as_json: bool,
    size: int | None,
    resize: str | None,
    rotations: bool,
    container: str | None,
    encoding: str,
    skip_corrupt: bool,
    threads: int | None,
    out: Path | None,
    force: bool,
    **own: Any,
) -> None:
    """Prepare the dataset NAME as a store, from files that are fetched or given with --from.

    \b
    Several datasets at once:
      meta-dataset  the sources of Meta-Dataset, each as a store, cut to what it uses

    \b
    Your own data, with its classes split as you say:
      folder PATH   PATH/CLASS/..., or PATH/train/CLASS/..., PATH/val/..., PATH/test/...
      csv PATH      a table of image paths and labels
      hf:REPO       a dataset of the Hugging Face Hub, or a local folder or .parquet file

    \b
    Example:
      episodes prepare omniglot --from ~/Downloads/omniglot --rotations
      episodes prepare meta-dataset --sources omniglot,aircraft,cub
      episodes prepare folder ~/flowers --name flowers --fractions 0.6,0.2,0.2
    """
    from episodes.progress import preparation_progress

    kind = own_data.kind_of(name)
    own_data.refuse_options_of_others(context, kind)
    if path is not None and kind in (SHIPPED, META):
        raise UsageError(f"{name} takes no PATH: type `episodes prepare {name} --from {path}`")
    form: dict[str, Any] = {
        "container": container,
        "encoding": encoding,
        "skip_corrupt": skip_corrupt,
        "threads": threads,
        "force": force,
        "shard_bytes": number_of_bytes(shard_size),
    }
    shared = form | {"size": size, "resize": resize, "rotations": rotations, "out": out}
    if kind == META:
        from episodes.cli.meta_dataset import prepare_sources

        chosen = [name for names in sources for name in names.split(",") if name]
        prepare_sources(chosen, source, size=size, offline=offline, as_json=as_json, **form)
        return
    if kind == SHIPPED:
        from episodes.prepare import prepare as prepare_store

        with preparation_progress(enabled=not as_json) as progress:
            store = prepare_store(
                name,
                source,
                variant=variant,
                crop=crop,
                drop_twins=drop_twins,
                partial=partial,
                offline=offline,
                progress=progress,
                **shared,
            )
    else:
        from episodes.own.preparing import prepare_own

        own_name = own_data.name_for(name, own["own_name"])
        collection = own_data.collection_of(name, path, own, offline)
        for note in collection.notes:
            click.echo(f"note: {note}", err=True)
        with preparation_progress(enabled=not as_json) as progress:
            store = prepare_own(
                collection,
                name=own_name,
                progress=progress,
                **shared | {"container": container or "hdf5"},
                **own_data.split_options(own),
            )
    report(description(store), as_json)
