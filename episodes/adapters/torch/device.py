"""A stream whose images lie on a PyTorch device."""

from typing import TYPE_CHECKING

import numpy as np

from episodes.adapters import framework
from episodes.adapters.resident import (
    ResidentStream,
    host_memory,
    pixels_shape,
    refuse_larger,
    too_large,
    uploads,
)
from episodes.adapters.torch.tensors import Tensors, usable_device
from episodes.adapters.torch.transforms import Transform
from episodes.stream import Stream

if TYPE_CHECKING:
    import torch
else:
    torch = framework("torch", "torch")


class DeviceStream(ResidentStream):
    """The episodes of `stream` as tensors of `device`, which holds all images they can have.

    The images are uploaded once, decoded if the store keeps files; `transform` is applied to each
    batch there. Raises UsageError where they need more bytes than `limit` (default: than are free
    on the device), and for a device that is not there.
    """

    def __init__(
        self,
        stream: Stream,
        device: "torch.device | str",
        limit: int | None = None,
        transform: Transform | None = None,
    ) -> None:
        super().__init__(stream)
        self.transform = transform
        self.device = usable_device(device)
        refuse_larger(stream, free_memory(self.device) if limit is None else limit, self.device)
        shape = pixels_shape(stream)
        try:
            pixels = torch.empty(shape, dtype=torch.uint8, device=self.device)
        except torch.OutOfMemoryError:
            raise too_large(stream, "has not as much in one piece", self.device) from None
        for place, some in uploads(stream):
            pixels[place : place + len(some)].copy_(torch.from_numpy(some))
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)  # for whoever gathers on another CUDA stream
        # Rows are copied in the widest words that they are made of: fewer steps for the device.
        flat = pixels.view(shape[0], -1)
        widths = {8: torch.int64, 4: torch.int32, 1: torch.uint8}
        self._pixels = flat.view(next(widths[n] for n in widths if flat.shape[1] % n == 0))
        self._support_labels = torch.from_numpy(stream.spec.support_labels).to(self.device)
        self._query_labels = torch.from_numpy(stream.spec.query_labels).to(self.device)

    def __repr__(self) -> str:
        return f"DeviceStream({self.stream!r}, {self.device})"

    def _put(self, table: np.ndarray) -> "torch.Tensor":
        tensor = torch.from_numpy(table)
        if self.device.type == "cuda":
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor.to(self.device)

    def _gathered(self, table: "torch.Tensor", index: np.ndarray, source: np.ndarray) -> Tensors:
        size, way = len(index), self.stream.spec.way
        places, class_ids = table[:, :-way], table[:, -way:]
        rows = self._pixels.index_select(0, places.reshape(-1)).view(torch.uint8)
        images = rows.view(size, -1, *self.stream.image_shape).movedim(-1, -3)
        support = len(self._support_labels)
        batch = {
            "support_images": images[:, :support],
            "support_labels": self._support_labels.repeat(size, 1),
            "query_images": images[:, support:],
            "query_labels": self._query_labels.repeat(size, 1),
            "class_ids": class_ids,
            "index": torch.from_numpy(index),
            "source": torch.from_numpy(source),
        }
        return batch if self.transform is None else self.transform(batch)


def on_device(
    stream: Stream,
    device: "torch.device | str",
    limit: int | None = None,
    transform: Transform | None = None,
) -> DeviceStream:
    """The same episodes, gathered on `device`; see `DeviceStream`."""
    return DeviceStream(stream, device, limit, transform)


def free_memory(device: "torch.device") -> int | None:
    """The bytes that a tensor on `device` can have, None where nobody knows."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(free + kept)
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory())
    return host_memory() if device.type == "cpu" else None
