"""Batches that a worker process hands over without a copy."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from episodes.adapters import FIELDS, IMAGES, arrays, framework
from episodes.adapters.torch.tensors import Tensors
from episodes.episode import EpisodeBatch
from episodes.stream import Stream

if TYPE_CHECKING:
    import torch
else:
    torch = framework("torch", "torch")


def gathered_to_share(stream: Stream, count: int, read: Callable[..., EpisodeBatch]) -> Tensors:
    """The batch of `count` episodes that `read(out=...)` gathers, in two storages of shared memory.

    A queue between processes sends a storage as a file descriptor; other memory it copies first.
    """
    shape = (count, stream.spec.support_size + stream.spec.query_size, *stream.image_shape)
    storage = torch.UntypedStorage._new_shared(math.prod(shape))
    images = torch.empty(0, dtype=torch.uint8).set_(storage).view(shape)
    batch = read(out=images.numpy())
    numbers = {
        name: array.reshape(count, -1)
        for name, array in arrays(batch).items()
        if name not in IMAGES
    }
    packed = torch.from_numpy(np.concatenate(list(numbers.values()), axis=1))
    widths = [each.shape[1] for each in numbers.values()]
    tensors = dict(zip(numbers, packed.split(widths, dim=1), strict=True))
    support = stream.spec.support_size
    tensors["support_images"] = images[:, :support].movedim(-1, -3)
    tensors["query_images"] = images[:, support:].movedim(-1, -3)
    tensors["index"], tensors["source"] = tensors["index"][:, 0], tensors["source"][:, 0]
    return {name: tensors[name] for name in FIELDS}
