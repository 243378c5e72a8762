"""The `episodes` command line."""

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from episodes.errors import EpisodesError


class ErrorLineGroup(click.Group):
    """A command group that prints what users can mend as one line and exits with its code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except EpisodesError as error:
            click.echo(f"error: {error}", err=True)
            ctx.exit(error.exit_code)
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise
            click.echo(f"error: {error}", err=True)
            ctx.exit(EpisodesError.exit_code)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        from episodes.errors import unknown_name

        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            raise unknown_name("command", args[0], self.list_commands(ctx))
        return super().resolve_command(ctx, args)


@click.group(cls=ErrorLineGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="fewshot-episodes", prog_name="episodes")
def main() -> None:
    """Few-shot datasets as deterministic streams of episodes.

    \b
    Example:
      episodes prepare omniglot --from ~/Downloads/omniglot
      episodes show omniglot --split test
    """


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def episode_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options that choose a stream of episodes."""
    for option in (
        click.option("--seed", default=1, show_default=True, help="The episode seed."),
        click.option("--query", default=15, show_default=True, help="Query images a class."),
        click.option("--shot", default=1, show_default=True, help="Support images a class."),
        click.option("--way", default=5, show_default=True, help="Classes an episode."),
        click.option(
            "--split",
            default="test",
            show_default=True,
            help="[SCHEME.]PART, such as train or lake.test.",
        ),
    ):
        command = option(command)
    return command


@main.command("list")
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
    for name in manifest.names():
        facts = manifest.load(name)
        stores = [store for store in prepared if store == name or store.startswith(f"{name}-")]
        rows.append(
            {
                "name": name,
                "title": facts.title,
                "classes": len(facts.class_names),
                "images": facts.images,
                "licence": facts.licence,
                "access": "generated" if facts.generated else facts.files[0].access,
                "bytes": sum(file.bytes for file in facts.files),
                "splits": list(facts.schemes),
                "prepared": stores,
            }
        )
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    for row in rows:
        click.echo(
            f"{row['name']:<14} {row['classes']:>6,} classes {row['images']:>9,} images  "
            f"{row['access']:<9} {row['licence']:<10} "
            f"prepared: {', '.join(row['prepared']) or 'no'}"
        )


@main.command()
@click.argument("name")
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path),
    help="Folder of the archives, or of what they extract to (default: fetch them).",
)
@click.option("--size", type=int, help="Edge of the images in pixels (default: the dataset's).")
@click.option("--rotations", is_flag=True, help="Add each class turned by 90, 180, 270 degrees.")
@click.option("--out", type=click.Path(path_type=Path), help="The store's folder.")
@click.option("--force", is_flag=True, help="Replace a store that is there.")
@json_option
def prepare(
    name: str,
    source: Path | None,
    size: int | None,
    rotations: bool,
    out: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Prepare the dataset NAME as a store, from files that are fetched or given with --from.

    \b
    Example:
      episodes prepare omniglot --from ~/Downloads/omniglot --rotations
    """
    from episodes.prepare import prepare as prepare_store
    from episodes.progress import preparation_progress

    with preparation_progress(enabled=not as_json) as progress:
        store = prepare_store(
            name,
            source,
            size=size,
            rotations=rotations,
            out=out,
            force=force,
            progress=progress,
        )
    _report(_description(store), as_json)


@main.command()
@click.argument("name")
@json_option
def info(name: str, as_json: bool) -> None:
    """Describe the prepared store NAME (a name or a path).

    \b
    Example:
      episodes info glyphs --json
    """
    import episodes

    _report(_description(episodes.open(name)), as_json)


@main.command()
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


@main.command()
@click.argument("name")
@episode_options
@click.option("--index", default=0, show_default=True, help="Which episode.")
@click.option("--out", type=click.Path(path_type=Path), help="PNG to write [NAME-SPLIT-INDEX.png].")
def show(
    name: str, split: str, way: int, shot: int, query: int, seed: int, index: int, out: Path | None
) -> None:
    """Write a contact sheet of one episode of NAME as a PNG.

    \b
    Example:
      episodes show glyphs --split test --way 5 --shot 1 --query 5
    """
    import episodes
    from episodes.contact_sheet import contact_sheet

    stream = episodes.open(name).stream(split, way, shot, query, seed)
    path = out or Path(f"{Path(name).name}-{split}-{index}.png")
    sheet = contact_sheet(stream, index)
    try:
        sheet.save(path, "PNG")
    except OSError as error:
        raise EpisodesError(f"cannot write {path}: {error.strerror or error}") from None
    click.echo(str(path))


def _description(store: Any) -> dict[str, Any]:
    sizes = store.class_sizes
    splits = {
        scheme: {
            part: {"classes": len(classes), "images": int(sizes[list(classes)].sum())}
            for part, classes in parts.items()
        }
        for scheme, parts in store.info.splits.items()
    }
    return {
        "name": store.name,
        "path": str(store.path),
        "classes": len(store.class_names),
        "images": store.info.rows,
        "image_shape": list(store.image_shape),
        "default_scheme": store.default_scheme,
        "splits": splits,
        "preprocessing": dict(store.info.preprocessing),
        "content_digest": store.digest,
        "verified": store.info.verified,
        "original_archives": {source["file"]: source["original"] for source in store.info.sources},
        "manifest_digest": store.info.manifest_digest,
        "tool_version": store.info.tool_version,
        "licence": store.info.licence,
        "citation": store.info.citation,
    }


def _report(description: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(description, indent=1))
        return
    height, width, channels = description["image_shape"]
    click.echo(
        f"{description['name']}: {description['classes']:,} classes, "
        f"{description['images']:,} images of {height}x{width}x{channels}"
    )
    for scheme, parts in description["splits"].items():
        counts = ", ".join(f"{part} {count['classes']:,}" for part, count in parts.items())
        default = " (default)" if scheme == description["default_scheme"] else ""
        click.echo(f"  split {scheme}{default}: {counts} classes")
    click.echo(f"  digest {description['content_digest']}")
    click.echo(f"  verified: {description['verified']}")
    repacked = [file for file, original in description["original_archives"].items() if not original]
    if repacked:
        click.echo(f"  not the original archives: {', '.join(repacked)}")
    click.echo(f"  licence {description['licence']}; cite: {description['citation']}")
    click.echo(f"  in {description['path']}")
