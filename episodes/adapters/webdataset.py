"""WebDataset: episodes as samples for a pipeline of the `webdataset` library."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from episodes.adapters import arrays, framework
from episodes.episode import Episode
from episodes.stream import Stream

ARRAYS = ("support_images", "support_labels", "query_images", "query_labels", "class_ids")
KEY_DIGITS = 9


class Samples:
    """Episodes `start` to before `stop`, without end if that is None, a sample each.

    A sample is as `webdataset` decodes one of an export: `support_images.npy` uint8 [n, H, W, C],
    `support_labels.npy`, `query_images.npy`, `query_labels.npy`, `class_ids.npy` int64, and `json`
    with index, source and class names. It is the first stage of a `DataPipeline`, and shares itself
    out over its ranks and workers; no `split_by_node` or `split_by_worker` behind it.
    """

    def __init__(self, stream: Stream, *, start: int = 0, stop: int | None = None) -> None:
        self.stream, self.start, self.stop = stream, start, stop

    def __iter__(self) -> Iterator[dict[str, Any]]:
        webdataset = framework("webdataset", "webdataset")
        rank, world, worker, workers = webdataset.utils.pytorch_worker_info()
        share = self.stream if self.stream.world > 1 else self.stream.shard(rank, world)
        readings = share.readings(self.start, self.stop, 1)
        for _, read in islice(readings, worker, None, workers):
            yield self._sample(read()[0])

    def __call__(self) -> Iterator[dict[str, Any]]:
        return iter(self)

    def _sample(self, episode: Episode) -> dict[str, Any]:
        values = arrays(episode)
        names = self.stream.stores[episode.source].class_names
        facts = {
            "index": episode.index,
            "source": episode.source,
            "class_names": [names[class_id] for class_id in episode.class_ids],
        }
        return {
            "__key__": f"{episode.index:0{KEY_DIGITS}d}",
            "__url__": repr(self.stream),
            **{f"{name}.npy": values[name] for name in ARRAYS},
            "json": facts,
        }
