"""JAX: episodes as JAX arrays, and streams that live on its devices."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from episodes.adapters import ON_DEVICE, arrays, framework
from episodes.adapters.resident import (
    Arrays,
    ResidentStream,
    host_memory,
    pixels_shape,
    refuse_larger,
    too_large,
    uploads,
)
from episodes.episode import Episode, EpisodeBatch
from episodes.stream import Stream

Device = Any  # a jax.Device, or a jax.sharding.Sharding


def to_arrays(episode: Episode | EpisodeBatch, device: Device = None) -> Arrays:
    """The fields of an episode or a batch as JAX arrays on `device` (default: JAX's own default).

    Images are uint8 [..., n, H, W, C]; labels and class ids int32, JAX's own integers. `index` and
    `source`, which only name the episodes, stay NumPy's int64. `device` can be a sharding, over
    which the leading axis of a batch is spread.
    """
    jax = framework("jax", "jax")
    found = arrays(episode)
    return found | jax.device_put({name: _narrowed(found[name]) for name in ON_DEVICE}, device)


def batches(
    stream: Stream,
    size: int,
    start: int = 0,
    stop: int | None = None,
    *,
    threads: int = 1,
    device: Device = None,
) -> Iterator[Arrays]:
    """`Stream.batches` as `to_arrays` gives them, each one put on its way before it is needed."""
    ahead: Arrays | None = None
    for batch in stream.batches(size, start, stop, threads):
        following = to_arrays(batch, device)
        if ahead is not None:
            yield ahead
        ahead = following
    if ahead is not None:
        yield ahead


def on_device(stream: Stream, device: Device = None, limit: int | None = None) -> "DeviceStream":
    """The same episodes, gathered on `device`; see `DeviceStream`."""
    return DeviceStream(stream, device, limit)


class DeviceStream(ResidentStream):
    """The episodes of `stream` as JAX arrays of `device`, which holds all images they can have.

    The images are uploaded once, decoded if the store keeps files. Raises UsageError where they
    need more bytes than `limit` (default: than are free on the device, as far as JAX says).
    """

    def __init__(self, stream: Stream, device: Device = None, limit: int | None = None) -> None:
        super().__init__(stream)
        self._jax = framework("jax", "jax")
        self.device = self._jax.devices()[0] if device is None else device
        refuse_larger(stream, _free_memory(self.device) if limit is None else limit, self.device)
        pixels = np.empty(pixels_shape(stream), np.uint8)
        for place, some in uploads(stream):
            pixels[place : place + len(some)] = some
        labels = (_narrowed(stream.spec.support_labels), _narrowed(stream.spec.query_labels))
        try:
            put = self._jax.block_until_ready(self._jax.device_put((pixels, labels), self.device))
        except self._jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            raise too_large(stream, "has not as much in one piece", self.device) from None
        self._pixels, (self._support_labels, self._query_labels) = put

    def __repr__(self) -> str:
        return f"DeviceStream({self.stream!r}, {self.device})"

    def _put(self, table: np.ndarray) -> Any:
        return self._jax.device_put(_narrowed(table), self.device)

    def _gathered(self, table: Any, index: np.ndarray, source: np.ndarray) -> Arrays:
        numpy = self._jax.numpy
        size, way, support = len(index), self.stream.spec.way, len(self._support_labels)
        # Places are known to lie inside; other modes would look at each of them.
        images = numpy.take(self._pixels, table[:, :-way], axis=0, mode="clip")
        return {
            "support_images": images[:, :support],
            "support_labels": numpy.tile(self._support_labels, (size, 1)),
            "query_images": images[:, support:],
            "query_labels": numpy.tile(self._query_labels, (size, 1)),
            "class_ids": table[:, -way:],
            "index": index,
            "source": source,
        }


def _narrowed(values: np.ndarray) -> np.ndarray:
    return values.astype(np.int32) if values.dtype == np.int64 else values


def _free_memory(device: Device) -> int | None:
    """The bytes free on one device, None where JAX does not say."""
    statistics = getattr(device, "memory_stats", lambda: None)()
    if statistics and "bytes_limit" in statistics:
        return int(statistics["bytes_limit"] - statistics["bytes_in_use"])
    return host_memory() if getattr(device, "platform", None) == "cpu" else None
