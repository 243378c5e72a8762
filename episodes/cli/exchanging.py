"""`episodes push` and `pull`."""

import json
from pathlib import Path

import click

from episodes.cli.common import human_bytes, json_option


@click.command()
@click.argument("name")
@click.argument("url")
@click.option("--i-have-rights", is_flag=True, help="The licence lets you copy the images there.")
@click.option("--force", is_flag=True, help="Replace the store that is there.")
@json_option
def push(name: str, url: str, i_have_rights: bool, force: bool, as_json: bool) -> None:
    """Copy the prepared store NAME into the folder URL (file://, s3://, hf:// ...).

    \b
    Example:
      episodes push omniglot s3://our-bucket/stores/omniglot
    """
    import episodes
    from episodes import exchange
    from episodes.progress import preparation_progress

    store = episodes.open(name)
    with preparation_progress(enabled=not as_json) as progress:
        pushed = exchange.push(
            store, url, i_have_rights=i_have_rights, force=force, progress=progress
        )
    if as_json:
        told = {"store": store.name, "url": pushed.url, "bytes_sent": pushed.bytes}
        click.echo(json.dumps(told | {"content_digest": store.digest}, indent=1))
    elif pushed.bytes:
        click.echo(f"{store.name} is at {pushed.url} ({human_bytes(pushed.bytes)} sent)")
    else:
        click.echo(f"{store.name} was at {pushed.url} already")


@click.command()
@click.argument("url")
@click.option("--name", help="The store's name here (default: its own).")
@click.option("--out", type=click.Path(path_type=Path), help="The store's folder.")
@click.option("--force", is_flag=True, help="Replace the store that is there.")
@json_option
def pull(url: str, name: str | None, out: Path | None, force: bool, as_json: bool) -> None:
    """Fetch the store in the folder URL (https://, file://, s3://, hf:// ...), and check it.

    \b
    Example:
      episodes pull https://example.org/stores/omniglot
    """
    from episodes import exchange
    from episodes.cli.describing import description, report
    from episodes.progress import preparation_progress

    with preparation_progress(enabled=not as_json) as progress:
        pulled = exchange.pull(url, name=name, out=out, force=force, progress=progress)
    described = description(pulled.store)
    if as_json:
        click.echo(json.dumps(described | {"bytes_fetched": pulled.bytes}, indent=1))
        return
    report(described, as_json=False)
    came = f"{human_bytes(pulled.bytes)} fetched" if pulled.bytes else "it was there already"
    click.echo(f"  pulled from {url}: {came}")
