"""`episodes list`, `info`, `verify` and `show`."""

import json
from pathlib import Path
from typing import Any

import click

from episodes.cli.common import episode_options, human_bytes, json_option, was_given
from episodes.errors import EpisodesError, UsageError, some_of


@click.command("list")
@json_option
def list_datasets(as_json: bool) -> None:
    """List the datasets, and which of them are prepared.

    \b
    Example:
      episodes list --json
    """
    from episodes import manifest, places

    prepared = places.prepared()
    rows: list[dict[str, Any]] = []
    shipped = manifest.names()
    for name in shipped:
        facts = manifest.load(name)
        source = facts.fetched_source
        sizes = [file.bytes for file in source.files if file.needed_for is None]
        rows.append(
            {
                "name": name,
                "title": facts.title,
                "classes": len(facts.class_names),
                "images": facts.images,
                "licence": facts.licence,
                "access": "generated" if facts.generated else source.access,
                "bytes": None if None in sizes else sum(size or 0 for size in sizes),
                "splits": list(facts.schemes),
                "sources": [source.name for source in facts.sources],
                "prepared": [store for store in prepared if _dataset_of(store, shipped) == name],
            }
        )
    own = [store for store in prepared if _dataset_of(store, shipped) is None]
    if as_json:
        click.echo(json.dumps({"datasets": rows, "own": own}, indent=1))
        return
    for row in rows:
        size = "unknown" if row["bytes"] is None else human_bytes(row["bytes"])
        click.echo(
            f"{row['name']:<20} {row['classes']:>5,} classes {row['images']:>9,} images  "
            f"{row['access']:<9} {size:>11}  prepared: {', '.join(row['prepared']) or 'no'}"
        )
        click.echo(f"{'':<20} licence: {row['licence']}")
    if own:
        click.echo(f"your own: {', '.join(own)}")


def _dataset_of(store: str, shipped: list[str]) -> str | None:
    """The dataset that a store's name begins with, the longest where there are several."""
    fitting = [name for name in shipped if store == name or store.startswith(f"{name}-")]
    return max(fitting, key=len, default=None)


@click.command()
@click.argument("name")
@json_option
def info(name: str, as_json: bool) -> None:
    """Describe the prepared store NAME (a name or a path).

    \b
    Example:
      episodes info glyphs --json
    """
    import episodes
    from episodes.overlaps import overlap_lines, overlap_report

    store = episodes.open(name)
    overlaps = overlap_report(store)
    report(description(store) | {"overlaps": overlaps}, as_json)
    if not as_json:
        for line in overlap_lines(overlaps, store.info.dataset):
            click.echo(f"  {line}")


@click.command()
@click.argument("name")
@click.option("--deep", is_flag=True, help="Also hash the decoded images.")
@json_option
def verify(name: str, deep: bool, as_json: bool) -> None:
    """Check the shards of the prepared store NAME against their recorded hashes.

    \b
    Example:
      episodes verify glyphs --deep
    """
    import episodes

    store = episodes.open(name)
    store.verify(deep)
    shards = len(store.info.shards)
    if as_json:
        click.echo(json.dumps({"store": store.name, "shards": shards, "deep": deep, "whole": True}))
    else:
        click.echo(f"{store.name}: {shards} shard(s) as recorded{', pixels too' if deep else ''}")


@click.command()
@click.argument("name")
@episode_options
@click.option(
    "--sampler",
    type=click.Choice(["uniform", "meta-dataset"]),
    default="uniform",
    show_default=True,
    help="Of --way and --shot, or of ways and shots by Meta-Dataset's rules.",
)
@click.option("--index", default=0, show_default=True, help="Which episode.")
@click.option("--size", type=int, help="Edge in pixels, for a store whose images differ in size.")
@click.option("--out", type=click.Path(path_type=Path), help="PNG to write [NAME-SPLIT-INDEX.png].")
def show(
    name: str,
    split: str,
    way: int,
    shot: int,
    query: int,
    seed: int,
    sampler: str,
    index: int,
    size: int | None,
    out: Path | None,
) -> None:
    """Write a contact sheet of one episode of NAME as a PNG.

    \b
    Example:
      episodes show glyphs --split test --way 5 --shot 1 --query 5
    """
    import episodes
    from episodes.contact_sheet import contact_sheet
    from episodes.stream import Stream
    from episodes.variable_stream import VariableStream

    store = episodes.open(name, size=size)
    stream: Stream | VariableStream
    if sampler == "uniform":
        stream = store.stream(split, way, shot, query, seed)
    else:
        _refuse_given("way", "shot", "query", sampler=sampler)
        stream = VariableStream([store], split, seed=seed)
    path = out or Path(f"{Path(name).name}-{split}-{index}.png")
    sheet = contact_sheet(stream, index)
    try:
        sheet.save(path, "PNG")
    except OSError as error:
        raise EpisodesError(f"cannot write {path}: {error.strerror or error}") from None
    click.echo(str(path))


def _refuse_given(*names: str, sampler: str) -> None:
    for name in names:
        if was_given(click.get_current_context(), name):
            raise UsageError(f"--{name} has no use with --sampler {sampler}, which draws it")


def description(store: Any) -> dict[str, Any]:
    """What `info` tells of a store, as plain values."""
    sizes, info = store.class_sizes, store.info
    splits = {
        scheme: {
            part: {"classes": len(classes), "images": int(sizes[list(classes)].sum())}
            for part, classes in parts.items()
        }
        for scheme, parts in info.splits.items()
    }
    return {
        "name": store.name,
        "dataset": info.dataset,
        "title": info.title,
        "path": str(store.path),
        "classes": len(store.class_names),
        "images": info.rows,
        "image_shape": list(info.image_shape) if info.image_shape else None,
        "format": info.container,
        "encoding": info.encoding,
        "bytes": sum(shard.bytes for shard in info.shards),
        "marks": list(info.marks),
        "skipped": [dict(skipped) for skipped in info.skipped],
        "default_scheme": store.default_scheme,
        "splits": splits,
        "preprocessing": dict(info.preprocessing),
        "content_digest": store.digest,
        "verified": info.verified,
        "source": info.source,
        "original_archives": {source["file"]: source["original"] for source in info.sources},
        "manifest_digest": info.manifest_digest,
        "tool_version": info.tool_version,
        "homepage": info.homepage,
        "licence": info.licence,
        "redistribution": info.redistribution,
        "citation": info.citation,
    }


def report(described: dict[str, Any], as_json: bool) -> None:
    """Print a store's description."""
    if as_json:
        click.echo(json.dumps(described, indent=1))
        return
    shape = described["image_shape"]
    size = "x".join(map(str, shape)) if shape else "their own sizes"
    click.echo(
        f"{described['name']}: {described['classes']:,} classes, "
        f"{described['images']:,} images of {size} "
        f"({described['format']}, {described['encoding']}, {human_bytes(described['bytes'])})"
    )
    for mark in described["marks"]:
        click.echo(f"  NOT THE WHOLE DATASET: {mark}")
    for scheme, parts in described["splits"].items():
        counts = ", ".join(f"{part} {count['classes']:,}" for part, count in parts.items())
        default = " (default)" if scheme == described["default_scheme"] else ""
        click.echo(f"  split {scheme}{default}: {counts} classes")
    preprocessing = ", ".join(f"{key} {value}" for key, value in described["preprocessing"].items())
    click.echo(f"  from {described['source']}; {preprocessing}")
    click.echo(f"  digest {described['content_digest']}")
    click.echo(f"  verified: {described['verified']}")
    archives = described["original_archives"]
    for answer, words in ((False, "not the original archives"), (None, "compared with no hash")):
        if files := [file for file, original in archives.items() if original is answer]:
            click.echo(f"  {words}: {some_of(files)}")
    cite = f"; cite: {described['citation']}" if described["citation"] else ""
    click.echo(f"  licence {described['licence']}{cite}")
    click.echo(f"  in {described['path']}")
