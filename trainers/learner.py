"""What learns: algorithm, backbone and rate scheme, put together from a run's settings."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from episodes import Stream
from episodes.errors import UsageError
from trainers import algorithms, backbones, catalog, rates
from trainers.algorithms import Algorithm, TaskResult
from trainers.config import RunConfig
from trainers.evaluation import Evaluation, evaluate
from trainers.rates import RateScheme
from trainers.types import Backbone, BatchNormMode, Params, Task

EPISODES_AT_A_TIME = 4


@dataclass(frozen=True)
class Learner:
    """An algorithm over a backbone and a rate scheme, with its batch-norm mode, on a device."""

    algorithm: Algorithm
    backbone: Backbone
    scheme: RateScheme
    bn: BatchNormMode
    device: str

    def initial(self, seed: int, steps: int) -> tuple[Params, Params]:
        """Initial weights and meta-parameters as leaves that require gradients.

        They are drawn on the CPU, so that `seed` means the same weights on every device; `steps`
        are the inner steps of training.
        """
        params = self.backbone.init(torch.Generator().manual_seed(seed))
        meta = self.scheme.init(self.backbone.param_infos(self.algorithm.adapts), steps)
        return self._leaves(params), self._leaves(meta)

    def train_on(self, task: Task, params: Params, meta: Params, steps: int) -> TaskResult:
        """The task's result with the graph from its query loss to `params` and `meta`."""
        return self.algorithm.run(
            self.backbone, self.scheme, meta, params, task, steps, self.bn, training=True
        )

    def evaluate(
        self,
        params: Params,
        meta: Params,
        stream: Stream,
        episodes: int,
        steps: int,
        on_batch: Callable[[int], None],
    ) -> Evaluation:
        """`trainers.evaluation.evaluate` of these weights."""
        return evaluate(
            self.algorithm,
            self.backbone,
            self.scheme,
            meta,
            params,
            stream,
            episodes,
            steps,
            self.bn,
            self.device,
            EPISODES_AT_A_TIME,
            on_batch,
        )

    def _leaves(self, tensors: dict[str, Tensor]) -> Params:
        return {name: tensor.to(self.device).requires_grad_() for name, tensor in tensors.items()}


def build(config: RunConfig, image_shape: tuple[int, int, int]) -> Learner:
    """The learner of a run over images of `image_shape` (height, width, channels).

    Raises UsageError where the backbone cannot take the images.
    """
    height, width, channels = image_shape
    if height != width:
        raise UsageError(f"{config.backbone}: images of {height}x{width}, expected square ones")
    return Learner(
        algorithms.build(config.algo, **_fields("algo", config)),
        backbones.build(
            config.backbone,
            way=config.way,
            in_channels=channels,
            image_size=height,
            **_fields("backbone", config),
        ),
        rates.build(config.lr, **_fields("lr", config)),
        cast(BatchNormMode, config.bn),
        config.device,
    )


def _fields(setting: str, config: RunConfig) -> dict[str, Any]:
    """The settings that the chosen catalog entry brings, under the entry's own field names."""
    settings = config.settings()
    entry = catalog.find(setting, str(settings[setting]))
    return {entry.fields.get(name, name): settings[name] for name in entry.settings}
