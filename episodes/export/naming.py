"""Episodes by name: the classes and images that they are made of, beside their pixels."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from episodes.episode import EpisodeBatch
from episodes.stream import Stream

ARRAYS = ("support_images", "support_labels", "query_images", "query_labels", "class_ids")
LISTS = ("class_names", "support_ids", "query_ids")
BYTES_AT_ONCE = 8 << 20
EPISODES_AT_ONCE = 64


@dataclass(frozen=True)
class Names:
    """Episode `index`: its store, class names in label order, and its images' ids and rows.

    Support and query images stand in the order of the episode's arrays.
    """

    index: int
    source: int
    class_names: list[str]
    support_ids: list[str]
    query_ids: list[str]
    support_rows: list[int]
    query_rows: list[int]

    @property
    def facts(self) -> dict[str, Any]:
        """What goes beside the pixels: all but row numbers, which only the store explains."""
        return {
            "index": self.index,
            "source": self.source,
            "class_names": self.class_names,
            "support_ids": self.support_ids,
            "query_ids": self.query_ids,
        }


NamedBatch = tuple[EpisodeBatch, list[Names]]


def named_batches(
    stream: Stream, start: int = 0, stop: int | None = None, threads: int = 1
) -> Iterator[NamedBatch]:
    """Episodes `start` to before `stop` in batches of a few megabytes, and their names."""
    for batch in stream.batches(_at_once(stream), start, stop, threads):
        yield batch, names(stream, start, len(batch))
        start += len(batch)


def names(stream: Stream, start: int, count: int) -> list[Names]:
    """The names of episodes start .. start + count - 1 of the stream, or of a share of one."""
    plans = stream.plans(start, count)
    rows = np.concatenate((plans.support_rows, plans.query_rows), axis=1)
    support = plans.support_rows.shape[1]
    ids = np.empty(rows.shape, object)
    for source in np.unique(plans.source):
        mine = plans.source == source
        found = stream.stores[source].ids(rows[mine].reshape(-1))
        ids[mine] = np.array(found, object).reshape(-1, rows.shape[1])
    return [
        Names(
            index=plans.start + position * plans.step,
            source=int(source),
            class_names=[stream.stores[source].class_names[c] for c in plans.class_ids[position]],
            support_ids=list(ids[position, :support]),
            query_ids=list(ids[position, support:]),
            support_rows=rows[position, :support].tolist(),
            query_rows=rows[position, support:].tolist(),
        )
        for position, source in enumerate(plans.source)
    ]


def _at_once(stream: Stream) -> int:
    """How many episodes make a few megabytes, 1 at least."""
    images = int((stream.spec.support_counts + stream.spec.query_counts).sum())
    size = images * int(np.prod(stream.image_shape))
    return max(1, min(EPISODES_AT_ONCE, BYTES_AT_ONCE // size))
