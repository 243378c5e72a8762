"""card.md: what a store holds, for whoever finds the folder."""

from collections.abc import Iterator
from pathlib import Path

from episodes.manifest import PARTS, Manifest
from episodes.store.layout import CARD_NAME, StoreInfo


def write_card(folder: Path, info: StoreInfo, facts: Manifest) -> None:
    """Write the card of the store `info`, which was made from `facts`, into `folder`."""
    (folder / CARD_NAME).write_text("\n".join(_lines(info, facts)) + "\n", encoding="utf-8")


def _lines(info: StoreInfo, facts: Manifest) -> Iterator[str]:
    yield f"# {info.title or info.name}"
    yield ""
    yield f"Store `{info.name}` of `{info.dataset}` (manifest version {info.version}): "
    yield f"{info.rows:,} images of {len(info.class_names):,} classes."
    for mark in info.marks:
        yield ""
        yield f"**Not the whole dataset: {mark}.**"
    yield from ("", "## Source", "")
    yield f"- Homepage: {info.homepage}"
    yield f"- Read as: {info.source}"
    for file in info.sources:
        yield f"- {file['file']}: {_originality(file['original'])}"
    yield f"- Licence: {info.licence}"
    yield f"- May be redistributed: {'yes' if info.redistribution else 'no'}"
    if info.citation:
        yield f"- Cite: {info.citation}"
    yield from ("", "## Splits", "", "| scheme | train | val | test | where it comes from |")
    yield "|---|---|---|---|---|"
    for name, parts in info.splits.items():
        counts = " | ".join(f"{len(parts[part]):,}" for part in PARTS)
        default = " (default)" if name == info.default_scheme else ""
        yield f"| `{name}`{default} | {counts} | {facts.schemes[name].source} |"
    yield from ("", "Counts are classes.", "", "## Preprocessing", "")
    for key, value in info.preprocessing.items():
        yield f"- {key}: {'own' if value is None else value}"
    by = "OpenCV" if "cv2" in str(info.preprocessing.get("resize")) else "Pillow"
    yield f"- pixels: uint8, {_colours(info.channels)}, decoded by Pillow, resized by {by}"
    yield from ("", "## How it was built", "")
    yield f"- By fewshot-episodes {info.tool_version}, in the {info.container} format"
    yield f"- Images are kept {'as pixels' if info.encoding == 'raw' else 'as image files'}"
    yield f"- Content digest: `{info.content_digest}`"
    yield f"- Verified: {info.verified}"
    for skipped in info.skipped:
        yield f"- Left out: {skipped['class']}/{skipped['id']} ({skipped['reason']})"


def _originality(original: bool | None) -> str:
    return {True: "the original", False: "not the original archive", None: "not compared"}[original]


def _colours(channels: int) -> str:
    return "grey" if channels == 1 else "RGB"
