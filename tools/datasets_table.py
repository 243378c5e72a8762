"""Print the tables of docs/datasets.md from the manifests."""

from collections.abc import Iterator

import click

from episodes import manifest
from episodes.cli.common import human_bytes
from episodes.manifest import PARTS, Manifest, Source


def lines() -> Iterator[str]:
    """Both tables: the datasets, and their split schemes."""
    facts = [manifest.load(name) for name in manifest.names()]
    yield "| dataset | classes | images | sources, in order of preference | licence |"
    yield "|---|---|---|---|---|"
    for entry in facts:
        sources = "; ".join(_source(entry, source) for source in entry.sources)
        counts = f"{len(entry.class_names):,} | {entry.images:,}"
        yield f"| `{entry.name}` | {counts} | {sources} | {entry.licence} |"
    yield ""
    yield "| dataset | scheme | train / val / test classes | where it comes from |"
    yield "|---|---|---|---|"
    for entry in facts:
        for scheme in entry.schemes.values():
            default = ", default" if scheme.name == entry.default_scheme else ""
            counts = " / ".join(f"{len(scheme.classes[part]):,}" for part in PARTS)
            yield f"| `{entry.name}` | `{scheme.name}`{default} | {counts} | {scheme.source} |"


def _source(facts: Manifest, source: Source) -> str:
    if facts.generated:
        return "generated"
    sizes = [file.bytes for file in source.files if file.needed_for is None]
    known = [size for size in sizes if size is not None]
    size = f", {human_bytes(sum(known))}" if len(known) == len(sizes) else ""
    return f"`{source.name}` ({source.access}{size})"


if __name__ == "__main__":
    for line in lines():
        click.echo(line)
