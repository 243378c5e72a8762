"""The tasks and initial weights that all implementations start from, and the file of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from training_bench.setting import Setting

WEIGHT = "weight/"
TASKS = ("support_inputs", "support_labels", "query_inputs", "query_labels")


@dataclass(frozen=True)
class Problem:
    """Tasks with a leading axis, images `[B, n, C, H, W]` and labels `[B, n]`, and weights."""

    tasks: tuple[Tensor, Tensor, Tensor, Tensor]
    params: dict[str, Tensor]

    def each_task(self) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """The tasks, one by one."""
        return zip(*self.tasks, strict=True)


def read(path: Path, device: str) -> Problem:
    """The problem of a file."""
    with np.load(path) as arrays:
        tensors = {name: torch.from_numpy(arrays[name]).to(device) for name in arrays.files}
    support_inputs, support_labels, query_inputs, query_labels = (tensors[name] for name in TASKS)
    weights = {n.removeprefix(WEIGHT): t for n, t in tensors.items() if n.startswith(WEIGHT)}
    return Problem((support_inputs, support_labels, query_inputs, query_labels), weights)


def write(setting: Setting, path: Path, dtype: torch.dtype) -> None:
    """Write the first meta-batch of the setting's training stream, and the seed's weights."""
    from trainers.backbones import for_shape
    from trainers.config import Shape
    from trainers.types import tasks_from_batch
    from training_bench.ours import opened

    source = opened(setting)
    stream = source.stream(
        f"{source.default_scheme}.train",
        Shape(setting.way, setting.shot, setting.query),
        setting.seed,
    )
    tasks = tasks_from_batch(stream.batch(0, setting.meta_batch_size), "cpu")
    backbone = for_shape("conv4", source.input_shape, setting.way, filters=setting.filters)
    params = backbone.init(torch.Generator().manual_seed(setting.seed))
    tensors = dict(zip(TASKS, tasks[:4], strict=True))
    tensors |= {f"{WEIGHT}{name}": tensor for name, tensor in params.items()}
    arrays: dict[str, Any] = {
        name: (tensor.to(dtype) if tensor.is_floating_point() else tensor).numpy()
        for name, tensor in tensors.items()
    }
    np.savez(path, **arrays)
