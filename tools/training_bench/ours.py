"""This library's iterations, as `trainers run` does them."""

from collections.abc import Iterator, Mapping
from itertools import islice, repeat
from pathlib import Path
from typing import Any

from episodes import EpisodeBatch
from episodes.adapters.torch import to_tensors
from trainers import catalog
from trainers import config as configuration
from trainers.config import RunConfig, Settings
from trainers.interrupt import Interrupt
from trainers.learner import build
from trainers.outer_gradient import outer_gradient
from trainers.outer_state import OuterState
from trainers.progress import NoProgress
from trainers.run import Run
from trainers.run_directory import RunDirectory
from trainers.sources import Source, open_source
from trainers.streams import with_images_on
from trainers.training import Training
from trainers.types import Batch, Params
from training_bench.random_source import RandomSource
from training_bench.setting import Setting

NOWHERE = RunDirectory(Path("nowhere"))
"""No iteration writes into it."""


def opened(setting: Setting) -> Source:
    """Where the setting's tasks come from."""
    if setting.dataset is None:
        return RandomSource(setting.image_size, setting.channels)
    return open_source(setting.dataset)


def run_config(setting: Setting, chosen: Mapping[str, Any], source: Source) -> RunConfig:
    """The run of a setting under the `chosen` run settings, `algo` and `lr` among them.

    What the algorithm has of its own, such as its number of steps, wins over the setting. Raises
    UsageError where they do not fit together or are not known.
    """
    shape = {name: getattr(setting, name) for name in ("way", "shot", "query")}
    own_shape = {f"train_{name}": value for name, value in shape.items()}
    given: Settings = shape | own_shape | {"dataset": source.dataset, "steps": setting.steps}
    algorithm = catalog.find("algo", str(chosen["algo"]))
    scheme = catalog.find("lr", str(chosen["lr"]))
    given |= {"outer_lr": setting.outer_lr, "filters": setting.filters, "seed": setting.seed}
    given |= {"meta_batch_size": setting.meta_batch_size, "device": setting.device}
    given = {name: value for name, value in given.items() if name not in algorithm.changes}
    if "inner_lr" in scheme.settings:
        given["inner_lr"] = setting.inner_lr
    defaults: Settings = {"split": source.default_scheme, "threads": setting.threads}
    return configuration.complete(given | dict(chosen), defaults)


class Ours:
    """A run that does an iteration when it is told to: on one meta-batch again and again, or on
    those of its stream."""

    def __init__(self, setting: Setting, chosen: Mapping[str, Any], is_streaming: bool) -> None:
        source = opened(setting)
        self._batches: Iterator[Batch]
        self._run = run = Run.over(source, run_config(setting, chosen, source))
        sampler = run.sampling.sampler if run.sampling else None
        self._state = OuterState(run.config, run.learner, sampler)
        self._training = Training(
            NOWHERE, self._state, run.learner, run.streams, NoProgress(Interrupt()), run.sampling
        )
        size, stream = setting.meta_batch_size, run.streams.training
        if is_streaming:
            self._batches = iter(with_images_on(setting.device, stream).batches(size))
        else:
            batch: Batch = stream.batch(0, size)
            if isinstance(batch, EpisodeBatch) and setting.device != "cpu":
                batch = to_tensors(batch, device=setting.device)
            self._batches = repeat(batch)

    def iterate(self, count: int) -> None:
        """Do so many iterations."""
        for batch in islice(self._batches, count):
            self._training.outer_step(batch)

    def evaluate(self, episodes: int) -> None:
        """Evaluate the present weights on test tasks."""
        run, state = self._run, self._state
        run.learner.evaluate(state.params, state.meta, run.streams.test, episodes)


def float64_gradient(setting: Setting, chosen: Mapping[str, Any]) -> Params:
    """The outer gradient of the setting's first meta-batch at the seed's weights, in float64."""
    source = opened(setting)
    config = run_config(setting, chosen, source)
    learner = build(config, source)

    def double(tensors: Params) -> Params:
        return {
            name: tensor.detach().double().requires_grad_(tensor.requires_grad)
            for name, tensor in tensors.items()
        }

    params, meta = map(double, learner.initial(config.seed))
    stream = source.stream(f"{config.split}.train", config.training_shape, config.seed)
    tasks = learner.tasks(stream.batch(0, config.meta_batch_size), config.seed)
    tasks = tasks._replace(
        support_inputs=tasks.support_inputs.double(),
        query_inputs=tasks.query_inputs.double(),
        noise={name: draws.double() for name, draws in tasks.noise.items()},
    )
    outer_gradient(learner, learner.training, params, meta, tasks)
    named = params | {f"meta/{name}": tensor for name, tensor in meta.items()}
    return {name: tensor.grad for name, tensor in named.items() if tensor.grad is not None}
