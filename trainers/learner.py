"""What learns: algorithm, backbone and rate scheme, put together from a run's settings."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import torch

from episodes import EpisodeBatch
from episodes.errors import UsageError
from trainers import algorithms, backbones, catalog, combinations, rates
from trainers.algorithms import Adaptation, Algorithm
from trainers.algorithms.base import initial
from trainers.backbones import fused
from trainers.backbones.precision import InBFloat16
from trainers.config import RunConfig
from trainers.cuda_graph import CapturedOuterGradient
from trainers.evaluation import Evaluation, evaluate, joined
from trainers.group import Group
from trainers.metrics import METRICS, Metric
from trainers.regularizers import TRLearner
from trainers.sources import TaskShape, TaskStream
from trainers.tasks import RegressionBatch
from trainers.types import Batch, BatchNormMode, Params, Task, tasks_from_batch

if TYPE_CHECKING:
    from trainers.compiled import CompiledOuterGradient

EPISODES_AT_A_TIME = 4
BATCHED_EPISODES_AT_A_TIME = 50
LARGEST_BATCHED_ON_CPU = 50_000
"""Weights. Above, and with convolutions, one task after the other is quicker on a CPU."""


@dataclass(frozen=True)
class Learner:
    """An algorithm, how it adapts in training and in evaluation, what measures it, where, and what
    is added to its outer loss."""

    algorithm: Algorithm
    training: Adaptation
    evaluation: Adaptation
    metric: Metric
    device: str
    regularizer: TRLearner | None = None
    compiled: "CompiledOuterGradient | None" = None
    captured: CapturedOuterGradient | None = None

    def initial(self, seed: int) -> tuple[Params, Params]:
        """Initial weights and meta-parameters, `trainers.algorithms.base.initial`, on the device.

        They are drawn on the CPU, so that `seed` means the same weights on every device.
        """
        generator = torch.Generator().manual_seed(seed)
        params, meta = initial(self.algorithm, self.training, generator, self.device)
        if self.regularizer is not None:  # Drawn last: what is drawn before is as without it.
            own = self.regularizer.init(self.training, generator)
            params |= {name: t.to(self.device).requires_grad_() for name, t in own.items()}
        return params, meta

    def tasks(self, batch: Batch, seed: int) -> Task:
        """The tasks of a batch, on the device; their noise is drawn by `seed` and their index."""
        tasks = tasks_from_batch(batch, self.device)
        if not self.algorithm.draws_noise:
            return tasks
        draws = [self.noise(seed, int(index)) for index in _indices(batch)]
        return tasks._replace(noise={n: torch.stack([d[n] for d in draws]) for n in draws[0]})

    def noise(self, seed: int, index: int) -> Params:
        """What the algorithm draws for one task, on the device."""
        infos = self.training.backbone.param_infos(self.algorithm.adapts)
        generator = torch.Generator().manual_seed(mixed_seed("noise/1", seed, index))
        drawn = self.algorithm.noise(infos, generator)
        return {name: tensor.to(self.device) for name, tensor in drawn.items()}

    def adapted_names(self) -> list[str]:
        """The names of the tensors that adapt, in order."""
        infos = self.training.backbone.param_infos(self.algorithm.adapts)
        return [info.name for info in infos if info.adapted]

    def evaluate(
        self,
        params: Params,
        meta: Params,
        stream: TaskStream,
        episodes: int,
        on_batch: Callable[[int], None] | None = None,
        group: Group | None = None,
    ) -> Evaluation:
        """`trainers.evaluation.evaluate` of these weights on the first `episodes` of a stream.

        Of several ranks each evaluates its share of the batches; all get the whole.
        """
        group = group or Group()
        size = BATCHED_EPISODES_AT_A_TIME if self.evaluation.batched else EPISODES_AT_A_TIME
        if group.world == 1:
            batches = stream.batches(size, 0, episodes)
            return self._evaluated(params, meta, stream, batches, on_batch)
        starts = range(0, episodes, size)[group.rank :: group.world]
        own = (stream.batch(start, min(size, episodes - start)) for start in starts)
        found = self._evaluated(params, meta, stream, own, on_batch) if starts else None
        places = [i for start in starts for i in range(start, min(start + size, episodes))]
        return joined(group.collected((places, found)))

    def _evaluated(
        self,
        params: Params,
        meta: Params,
        stream: TaskStream,
        batches: Iterable[EpisodeBatch | RegressionBatch],
        on_batch: Callable[[int], None] | None,
    ) -> Evaluation:
        tasks = (self.tasks(batch, stream.seed) for batch in batches)
        return evaluate(self.algorithm, self.evaluation, params, meta, tasks, self.metric, on_batch)


def build(config: RunConfig, source: TaskShape, evaluated: RunConfig | None = None) -> Learner:
    """The learner of a run over such tasks, to be evaluated under other settings if given.

    Raises UsageError where the backbone cannot take its inputs.
    """
    evaluated = evaluated or config
    outputs = source.outputs(config.way or config.train_way)
    fields = own_fields("backbone", config)
    if is_fused(config):
        fields["fused"] = True
    backbone = backbones.for_shape(config.backbone, source.input_shape, outputs, **fields)
    if config.precision == "bf16":
        backbone = InBFloat16(backbone, config.device)
    scheme = rates.build(config.lr, **own_fields("lr", config))
    infos = backbone.param_infos(lambda role: True)
    training = Adaptation(
        backbone=backbone,
        scheme=rates.Attenuated(scheme) if config.l2f else scheme,
        loss=METRICS[config.metric].loss,
        way=source.outputs(config.train_way),
        steps=config.steps,
        bn=cast(BatchNormMode, config.bn),
        head_init=cast(Any, config.head_init),
        shared_head_rates=config.head_rates == "shared",
        training=True,
        padded=config.sampler == "meta-dataset",
        second_order=not config.first_order,
        batched=_is_batched(config, infos),
        recomputed=config.inner_graph == "recomputed",
    )
    algorithm = algorithms.build(config.algo, **own_fields("algo", config))
    regularizer = _regularizer(config, source.is_regression)
    if config.compile and not training.batched and evaluated is config:
        raise UsageError("--compile needs all tasks at once: add --task-batching batched")
    if training.recomputed and training.batched:
        raise UsageError(
            "--inner-graph recomputed needs one task after the other: add --task-batching loop"
        )
    return Learner(
        algorithm,
        training,
        replace(
            training,
            way=source.outputs(evaluated.way),
            steps=evaluated.eval_steps,
            batched=_is_batched(evaluated, infos),
            training=False,
        ),
        METRICS[config.metric],
        evaluated.device,
        regularizer,
        _compiled(algorithm, regularizer) if config.compile else None,
        CapturedOuterGradient() if _is_captured(config, training) else None,
    )


def is_fused(config: RunConfig) -> bool:
    """Whether what follows a convolution is one compiled function."""
    is_possible = config.blocks != "plain" and combinations.why_plain(config) is None
    return is_possible and fused.is_available()


def _regularizer(config: RunConfig, is_regression: bool) -> TRLearner | None:
    if config.regularizer == "none":
        return None
    fields = own_fields("regularizer", config)
    if fields["representation"] == "auto":
        fields["representation"] = "labelled" if is_regression else "features"
    return TRLearner(**fields)


def _compiled(algorithm: Algorithm, regularizer: TRLearner | None) -> "CompiledOuterGradient":
    from trainers.compiled import CompiledOuterGradient  # Its imports take half a second.

    return CompiledOuterGradient(algorithm, regularizer)


def _indices(batch: Batch) -> Iterable[Any]:
    return batch["index"] if isinstance(batch, dict) else batch.index


def mixed_seed(purpose: str, seed: int, index: int) -> int:
    """A seed of 63 bits of its own for each purpose, seed and index."""
    digest = hashlib.sha256(f"{purpose} {seed} {index}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def _is_batched(config: RunConfig, infos: list[Any]) -> bool:
    if config.sampler == "meta-dataset" and config.l2f:
        return False  # What L2F sees of a padded head would hang on the padding.
    if config.task_batching != "auto":
        return config.task_batching == "batched"
    weights = sum(torch.Size(info.shape).numel() for info in infos)
    is_small = weights <= LARGEST_BATCHED_ON_CPU and all(info.role != "conv" for info in infos)
    return config.device != "cpu" or is_small


def _is_captured(config: RunConfig, training: Adaptation) -> bool:
    is_possible = config.device == "cuda" and training.batched and not config.compile
    return is_possible and config.cuda_graph == "auto"


def own_fields(setting: str, config: RunConfig) -> dict[str, Any]:
    """The settings that the chosen catalog entry brings, under the entry's own field names."""
    settings = config.settings()
    entry = catalog.find(setting, str(settings[setting]))
    own = [name for name in entry.settings if name not in entry.elsewhere]
    fields = {entry.fields.get(name, name): settings[name] for name in own}
    for name in entry.settings:
        if name in catalog.TABLES:  # A choice with settings of its own, such as the divergence.
            fields |= own_fields(name, config)
    return fields
