"""The shapes that the parts of a trainer pass to each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor

from episodes.episode import EpisodeBatch, PaddedBatch

if TYPE_CHECKING:
    from trainers.tasks import RegressionBatch

Params = dict[str, Tensor]
Batch: TypeAlias = "EpisodeBatch | RegressionBatch | Params"
"""Tasks as a stream gives them: arrays, or what `episodes.adapters.torch` makes of episodes."""
Moments = list[tuple[Tensor, Tensor]]
"""Mean and biased variance per channel, one pair a normalisation layer."""

Role = Literal["conv", "linear", "norm", "head", "bias"]
BatchNormMode = Literal["batch", "support", "running", "per-step"]
Loss = Callable[[Tensor, Tensor], Tensor]
"""The 0-d mean loss of outputs `[n, o]` against targets: labels `[n]`, or values `[n, o]`."""


PADDING = -100
"""The label of an image that only fills a task up: torch's cross entropy leaves it out."""

ABSENT = -1e9
"""The logit of a class that a padded task does not have: its softmax is zero in any float type."""


@dataclass(frozen=True)
class ParamInfo:
    """What a rate scheme may know of one parameter tensor.

    `role` is `conv` for a convolution's weight, `linear` for that of a fully connected layer and
    `bias` for the bias of either, `norm` for the scale and the offset of a normalisation, `head`
    for the last layer's weight and bias. `adapted` tells whether the inner loop changes the tensor.
    """

    name: str
    shape: tuple[int, ...]
    module: str
    role: Role
    adapted: bool


class Task(NamedTuple):
    """One task as tensors; a batch of tasks has a leading axis in each.

    `noise` is what the algorithm draws for a task, by its own names; most draw nothing.

    Inputs are images `[n, C, H, W]` in 0..1 or vectors `[n, d]`; targets are labels `[n]`, int64 in
    0..way-1, or values `[n, o]`. Tasks of different sizes are padded to one: what is labelled
    `PADDING` counts nowhere, nor do classes beyond the last label of the support set.
    """

    support_inputs: Tensor
    support_targets: Tensor
    query_inputs: Tensor
    query_targets: Tensor
    noise: Params = {}


class Backbone(Protocol):
    """A network as pure functions of its parameters."""

    def init(self, generator: torch.Generator) -> Params:
        """Fresh float32 parameters, drawn on the generator's device."""

    def param_infos(self, adapts: Callable[[Role], bool]) -> list[ParamInfo]:
        """One entry a parameter, in the order of `init`."""

    def features(
        self,
        params: Params,
        inputs: Tensor,
        moments: Moments | None = None,
        collect: Moments | None = None,
        rows: Tensor | None = None,
    ) -> Tensor:
        """Features `[n, d]` of inputs `[n, ...]`, normalised by `moments` or by their own.

        `collect`, a list, is given the inputs' own moments at each normalisation layer. Where bool
        `rows` `[n]` are given, only those inputs count in their own moments.
        """

    def logits(self, params: Params, features: Tensor) -> Tensor:
        """Outputs `[n, o]` of features `[n, d]`: a classifier's logits, or predictions."""


def tasks_from_batch(
    batch: Batch, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> Task:
    """A batch of episodes, or of regression tasks, as tasks with a leading axis on `device`.

    Pixels, uint8 `[B, n, H, W, C]`, or `[B, n, C, H, W]` as tensors, become channels first and
    0..1. What only fills a batch up is labelled `PADDING`.
    """

    def values(array: np.ndarray) -> Tensor:
        tensor = torch.as_tensor(array).to(device)
        return (
            in_unit_range(tensor.movedim(-1, -3), dtype)
            if tensor.dtype == torch.uint8
            else tensor.to(dtype)
        )

    def labels(array: np.ndarray) -> Tensor:
        if isinstance(batch, PaddedBatch):
            array = np.where(array < 0, PADDING, array)
        return torch.as_tensor(array).to(device)

    if isinstance(batch, dict):
        on_device = {name: tensor.to(device) for name, tensor in batch.items()}
        return Task(
            in_unit_range(on_device["support_images"], dtype),
            on_device["support_labels"],
            in_unit_range(on_device["query_images"], dtype),
            on_device["query_labels"],
        )
    if isinstance(batch, EpisodeBatch):
        return Task(
            values(batch.support_images),
            labels(batch.support_labels),
            values(batch.query_images),
            labels(batch.query_labels),
        )
    return Task(
        values(batch.support_inputs),
        values(batch.support_targets),
        values(batch.query_inputs),
        values(batch.query_targets),
    )


def in_unit_range(pixels: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """uint8 pixels `[..., C, H, W]` as numbers in 0..1, contiguous in this order of axes.

    Grey images count as contiguous in the other order too, and convolutions round by it.
    """
    return pixels.to(dtype, memory_format=torch.contiguous_format).div_(255)


def some_tasks(tasks: Task, positions: Sequence[int]) -> Task:
    """Those of a batch's tasks at these positions."""
    if list(positions) == list(range(len(tasks.support_targets))):
        return tasks
    chosen = list(positions)
    noise = {name: draws[chosen] for name, draws in tasks.noise.items()}
    support_inputs, support_targets, query_inputs, query_targets = (t[chosen] for t in tasks[:4])
    return Task(support_inputs, support_targets, query_inputs, query_targets, noise)


def each_task(tasks: Task) -> list[Task]:
    """The tasks of a batch, one by one."""
    return [
        Task(*tensors, {name: draws[i] for name, draws in tasks.noise.items()})
        for i, tensors in enumerate(zip(*tasks[:4], strict=True))
    ]
