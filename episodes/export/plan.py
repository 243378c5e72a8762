"""Plan exports: the images of each episode by name, and hashes of their pixels; no pixels."""

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from episodes.errors import EpisodesError
from episodes.export.naming import NamedBatch, Names

FILE = "episodes.jsonl.gz"
DAMAGE = (OSError, EOFError, zlib.error, ValueError, LookupError, TypeError, RecursionError)


@dataclass(frozen=True)
class PlannedEpisode:
    """An episode as a plan has it: names, labels, and the SHA-256 of each image's pixels.

    `labels` and `hashes` are of the support images and then the query images.
    """

    names: Names
    labels: list[int]
    hashes: list[str]


def write_plan(folder: Path, batches: Iterable[NamedBatch]) -> Iterator[tuple[str, int]]:
    """Write the plan of the episodes into `folder`, and yield its name and number."""
    written = 0
    # Neither a name nor a time in the header: the same episodes are the same bytes.
    with (
        (folder / FILE).open("wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as file,
    ):
        for batch, batch_names in batches:
            for position, names in enumerate(batch_names):
                episode = batch[position]
                value = {
                    "index": names.index,
                    "source": names.source,
                    "class_names": names.class_names,
                    "support": _described(
                        episode.support_labels,
                        names.support_ids,
                        names.support_rows,
                        episode.support_images,
                    ),
                    "query": _described(
                        episode.query_labels,
                        names.query_ids,
                        names.query_rows,
                        episode.query_images,
                    ),
                }
                line = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
                file.write(line.encode() + b"\n")
            written += len(batch_names)
    yield FILE, written


def planned_episodes(folder: Path, count: int) -> Iterator[PlannedEpisode]:
    """The `count` episodes of the plan in `folder`; raises EpisodesError for what is damaged."""
    path, read = folder / FILE, 0
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="\n") as lines:
            for line in lines:
                yield _parsed(json.loads(line))
                read += 1
        if read != count:
            raise ValueError(f"it has {read} episodes; episodes.json says {count}")
    except DAMAGE as error:
        raise EpisodesError(f"{path} is damaged ({error}): fetch or export it again") from None


def pixels_sha256(image: np.ndarray) -> str:
    """The SHA-256 of uint8 pixels [H, W, C] in C order, in hex."""
    return hashlib.sha256(np.ascontiguousarray(image).data).hexdigest()


def _described(
    labels: np.ndarray, ids: list[str], rows: list[int], images: np.ndarray
) -> list[dict[str, Any]]:
    return [
        {"label": int(label), "id": image_id, "row": row, "sha256": pixels_sha256(image)}
        for label, image_id, row, image in zip(labels, ids, rows, images, strict=True)
    ]


def _parsed(value: Any) -> PlannedEpisode:
    support, query = value["support"], value["query"]
    names = Names(
        index=int(value["index"]),
        source=int(value["source"]),
        class_names=[str(name) for name in value["class_names"]],
        support_ids=[str(image["id"]) for image in support],
        query_ids=[str(image["id"]) for image in query],
        support_rows=[int(image["row"]) for image in support],
        query_rows=[int(image["row"]) for image in query],
    )
    labels = [int(image["label"]) for image in (*support, *query)]
    if not set(labels) <= set(range(len(names.class_names))):
        raise ValueError(f"episode {names.index} has a label without a class")
    return PlannedEpisode(names, labels, [image["sha256"] for image in (*support, *query)])
