"""The sampler of a run, built from its settings."""

from pathlib import Path
from typing import Any, cast

import numpy as np

from episodes.errors import UsageError
from episodes.sampling import build
from trainers import catalog, class_features
from trainers.config import RunConfig
from trainers.group import Group
from trainers.learner import Learner, own_fields
from trainers.sources import Source
from trainers.streams import Streams
from trainers.task_sampling import ClassFeatures, SampledStream, TaskSampling
from trainers.types import Params


def task_sampling(
    config: RunConfig, learner: Learner, source: Source, streams: Streams, group: Group
) -> TaskSampling | None:
    """How the run's training tasks are sampled; None where they are those of the stream, by number.

    Raises UsageError where the sampler cannot choose among the source's tasks.
    """
    if config.sampler in catalog.STATELESS:
        return None
    if not hasattr(streams.training, "batch_of"):
        raise UsageError(
            f"--sampler {config.sampler} chooses among classes or functions, {config.dataset} is a "
            "file of tasks: use --sampler uniform"
        )
    stream = cast(SampledStream, streams.training)
    fields: dict[str, Any] = own_fields("sampler", config)
    sampler = build(config.sampler, stream, config.meta_batch_size, config.seed, **fields)
    features = _class_features(config, learner, source)
    return TaskSampling(sampler, stream, learner, config.seed, features, group)


def _class_features(config: RunConfig, learner: Learner, source: Source) -> ClassFeatures:
    if not source.stores:
        return _no_classes
    store, split = source.stores[0], f"{config.split}.train"
    if config.sampler != "s-dpp":
        return class_features.prototypes(learner, store, split)
    run = Path(str(config.own["dpp_run"]))
    return lambda params: class_features.of_run(run, store, split)


def _no_classes(params: Params) -> np.ndarray:
    raise UsageError("class features were asked for, but the tasks have no classes")
