"""The shapes that the parts of a trainer pass to each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from episodes import Episode, EpisodeBatch

Params = dict[str, Tensor]
Moments = list[tuple[Tensor, Tensor]]
"""Mean and biased variance per channel, one pair a normalisation layer."""

Role = Literal["conv", "norm", "head", "bias"]
BatchNormMode = Literal["batch", "support"]


@dataclass(frozen=True)
class ParamInfo:
    """What a rate scheme may know of one parameter tensor.

    `role` is `conv` for a convolution's weight and `bias` for its bias, `norm` for the scale and
    the offset of a normalisation, `head` for the classifier's weight and bias. `adapted` tells
    whether the inner loop changes the tensor.
    """

    name: str
    shape: tuple[int, ...]
    module: str
    role: Role
    adapted: bool


@dataclass(frozen=True)
class Task:
    """One episode as tensors: images `[n, C, H, W]` in 0..1, labels `[n]` int64 in 0..way-1."""

    support_images: Tensor
    support_labels: Tensor
    query_images: Tensor
    query_labels: Tensor


class Backbone(Protocol):
    """A classifier as pure functions of its parameters."""

    def init(self, generator: torch.Generator) -> Params:
        """Fresh float32 parameters, drawn on the generator's device."""

    def param_infos(self, adapts: Callable[[Role], bool]) -> list[ParamInfo]:
        """One entry a parameter, in the order of `init`."""

    def features(self, params: Params, images: Tensor, moments: Moments | None = None) -> Tensor:
        """Features `[n, d]` of images `[n, C, H, W]`, normalised by `moments` or by their own."""

    def moments(self, params: Params, images: Tensor) -> Moments:
        """The batch moments that `features` normalises these images by."""

    def logits(self, params: Params, features: Tensor) -> Tensor:
        """Logits `[n, way]` of features `[n, d]`."""


def tasks_from_batch(
    batch: EpisodeBatch, device: torch.device | str, dtype: torch.dtype = torch.float32
) -> list[Task]:
    """The episodes of a batch, uint8 `[B, n, H, W, C]`, as tasks on `device`."""

    def images(pixels: np.ndarray) -> Tensor:
        channels_first = torch.as_tensor(pixels).to(device).movedim(-1, -3)
        return channels_first.to(dtype, memory_format=torch.contiguous_format).div_(255)

    def task(episode: Episode) -> Task:
        return Task(
            support_images=images(episode.support_images),
            support_labels=torch.as_tensor(episode.support_labels).to(device),
            query_images=images(episode.query_images),
            query_labels=torch.as_tensor(episode.query_labels).to(device),
        )

    return [task(batch[i]) for i in range(len(batch))]
