"""The outer loop: meta-batches, Adam, validation and checkpoints; resumable at any instruction."""

import math
import time
from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from episodes.errors import EpisodesError
from episodes.sampling.adaptive import Adaptive
from trainers import long_run
from trainers.algorithms import Adaptation
from trainers.config import RunConfig
from trainers.files import writing
from trainers.group import Group
from trainers.interrupt import Interrupted
from trainers.learner import Learner, mixed_seed
from trainers.outer_gradient import OuterStep, outer_gradient
from trainers.outer_state import OuterState
from trainers.progress import Progress
from trainers.run_directory import MetricsLog, NoMetrics, RunDirectory
from trainers.streams import Streams, with_images_on
from trainers.task_sampling import TaskSampling
from trainers.tracking.tracker import TrackedLog, Tracker
from trainers.types import Batch

SECONDS_BETWEEN_CHECKPOINTS = 15.0
SECONDS_OF_A_PACE = 10.0
"""The first iterations are slower: the time left is judged after so many seconds."""


def adaptation_at(config: RunConfig, how: Adaptation, iteration: int) -> Adaptation:
    """How an iteration, from 0, adapts: its order, and the weights of the query losses."""
    epoch, steps = iteration // config.epoch, how.steps
    weights = None
    if config.multi_step:
        weights = (1 / steps,) * steps
    elif epoch < config.multi_step_epochs:
        weights = multi_step_weights(epoch, config.multi_step_epochs, steps)
    is_first_order = config.first_order or epoch < config.first_order_epochs
    return replace(how, query_weights=weights, second_order=not is_first_order)


def multi_step_weights(epoch: int, epochs: int, steps: int) -> tuple[float, ...]:
    """The query losses' weights in an epoch of MAML++'s annealing, which sum to 1.

    They are equal at first and move to the last step; each other keeps 0.03 / steps at least
    (Antoniou et al. 2019; the constants are those of their code).
    """
    other = max(1 / steps - epoch / (steps * epochs), 0.03 / steps)
    last = min(1 / steps + epoch * (steps - 1) / (steps * epochs), 1 - (steps - 1) * 0.03 / steps)
    return (other,) * (steps - 1) + (last,)


def shuffled(count: int, seed: int, iteration: int) -> Tensor:
    """A permutation `[count]` of an iteration's tasks."""
    generator = torch.Generator().manual_seed(mixed_seed("shuffled/1", seed, iteration))
    return torch.randperm(count, generator=generator)


def _told(step: OuterStep, sampling: TaskSampling | None) -> dict[str, Any]:
    """What metrics.jsonl keeps of regularizer and sampler."""
    found: dict[str, Any] = {}
    if step.relations is not None:
        count = len(step.relations)
        others = step.relations[~torch.eye(count, dtype=torch.bool)]
        found["consistency"] = step.consistency
        found["relation_mean"] = others.mean().item() if count > 1 else None
        found["relation_deviation"] = others.std(correction=0).item() if count > 1 else None
    if sampling is not None:
        found["tasks"] = sampling.identities.tolist()
    if sampling is not None and isinstance(sampling.sampler, Adaptive):
        found |= {f"task_{name}": array.tolist() for name, array in sampling.sampler.last.items()}
    return found


class Training:
    """The outer loop of one run in a locked run directory.

    Iteration k (from 0) trains on episodes k*B .. (k+1)*B - 1 of the training stream, B tasks a
    meta-batch. The weights and metrics.jsonl are the same, bit for bit, however often the run was
    killed and resumed. Of several ranks each adapts to its share of a meta-batch, and the first
    writes.
    """

    def __init__(
        self,
        run: RunDirectory,
        state: OuterState,
        learner: Learner,
        streams: Streams,
        progress: Progress,
        sampling: TaskSampling | None = None,
        group: Group | None = None,
        tracker: Tracker | None = None,
    ) -> None:
        self.tracker = tracker
        self.run, self.state, self.learner = run, state, learner
        self.group = group or Group()
        self.streams, self.progress, self.sampling = streams, progress, sampling
        self.config, self.position = state.config, state.position
        self._log: MetricsLog | NoMetrics = NoMetrics()
        if learner.captured is not None:
            learner.captured.note = progress.note

    def train(self) -> None:
        """Do the iterations and validations that are left, and keep the checkpoints.

        Raises Interrupted after Ctrl-C, with a checkpoint written, and EpisodesError where the loss
        or the outer gradient is not finite.
        """
        self._began = time.monotonic() - self.position.seconds
        log: MetricsLog | NoMetrics = NoMetrics()
        if self.group.is_first:
            with writing(self.run.checkpoints):
                self.run.checkpoints.mkdir(exist_ok=True)
            log = self._open_log()
        self._log = log
        with closing(log):
            self._save()
            self._prune()
            try:
                self._iterate()
            except Interrupted:
                self._save()
                raise
            if self.streams.validation is None:  # Else the last validation has saved it.
                self._save()

    def _open_log(self) -> MetricsLog:
        size = self.position.metrics_bytes
        if self.tracker is None:
            return MetricsLog(self.run.metrics, size)
        return TrackedLog(self.run.metrics, size, self.tracker)

    def _iterate(self) -> None:
        size, done, total = (
            self.config.meta_batch_size,
            self.position.iteration,
            self.config.iterations,
        )
        batches: Iterable[Any] = range(done, total)
        if self.sampling is None:
            stream = with_images_on(self.learner.device, self.streams.training)
            batches = stream.batches(size, done * size, total * size)
        with self.progress.phase(
            "training", "iteration", total, done, size, self.learner.metric
        ) as phase:
            is_paced = done > 0  # A resumed run keeps its settings, whatever it takes.
            self._validate_if_due()
            for batch in batches:
                step = self.outer_step(batch)
                finite = (step.loss, step.figure) if math.isfinite(step.loss) else (None, None)
                phase.update(self.position.iteration, *finite)
                if not is_paced and phase.seconds >= SECONDS_OF_A_PACE:
                    is_paced = True
                    self._note_if_long(phase.seconds_left)
                self._validate_if_due()
                if time.monotonic() - self._saved > SECONDS_BETWEEN_CHECKPOINTS:
                    self._save()

    def _note_if_long(self, seconds_left: float) -> None:
        image_size = getattr(self.learner.training.backbone, "image_size", None)
        if (hint := long_run.hint(seconds_left, self.config, image_size)) is not None:
            self.progress.note(hint)

    def _outer_gradient(self, batch: Batch) -> OuterStep:
        """Sets the gradients of the next iteration, on a batch of the stream, or a sampler's."""
        state, iteration, learner = self.state, self.position.iteration, self.learner
        how = adaptation_at(self.config, learner.training, iteration)
        order = None
        if learner.regularizer is not None and learner.regularizer.relation == "shuffled":
            order = shuffled(self.config.meta_batch_size, self.config.seed, iteration)
        if self.sampling is not None:
            rate = state.optimizer.rate
            return self.sampling.outer_gradient(
                how, state.params, state.meta, iteration, rate, order
            )
        tasks = learner.tasks(batch, self.config.seed)
        return outer_gradient(learner, how, state.params, state.meta, tasks, order, self.group)

    def outer_step(self, batch: Batch) -> OuterStep:
        """The next iteration, on a batch of the training stream; raises EpisodesError as `train`.

        Under a sampler its own batch stands in the place of `batch`.
        """
        state, iteration = self.state, self.position.iteration
        step = self._outer_gradient(batch)
        if (why := self._not_finite(step)) is not None:
            return self._skip(why, step)
        if self.config.grad_clip is not None:
            torch.nn.utils.clip_grad_value_(state.trained.values(), self.config.grad_clip)
        state.optimizer.step(iteration)
        self.position.iteration += 1
        self._log.append(
            **{
                "iteration": self.position.iteration,
                "loss": step.loss,
                self.learner.metric.name: step.figure,
                "rates": step.rates,
                "branches": step.branches,
                "outer_rate": state.optimizer.rate,
                **_told(step, self.sampling),
            }
        )
        return step

    def _not_finite(self, step: OuterStep) -> str | None:
        if not math.isfinite(step.loss):
            return f"the loss is {step.loss}"
        if not step.is_finite:
            return f"the loss is {step.loss:.6g}, its gradient not finite"
        return None

    def _skip(self, why: str, step: OuterStep) -> OuterStep:
        """Leave out an outer step that is not finite, or raise EpisodesError once too many are."""
        iteration = self.position.iteration + 1
        rates = ", ".join(f"{rate:.3g}" for rate in step.rates)
        if self.position.skipped >= self.config.skip_diverged:
            raise EpisodesError(
                f"iteration {iteration}: {why} (inner rates by step: {rates}); "
                f"{self.run.last_checkpoint} is the last finite checkpoint: begin a new run with a "
                "lower inner or outer rate, with --grad-clip, or with --skip-diverged"
            )
        self.position.iteration = iteration
        self.position.skipped += 1
        self._log.append(iteration=iteration, skipped=why)
        return step

    def _validate_if_due(self) -> None:
        iteration, stream = self.position.iteration, self.streams.validation
        is_due = iteration == self.config.iterations or (
            iteration > 0 and iteration % self.config.validate_every == 0
        )
        if stream is None or not is_due or self.position.validated == iteration:
            return
        episodes, metric = self.config.val_episodes, self.learner.metric
        with self.progress.phase("validation", "episode", episodes) as phase:
            measured = self.learner.evaluate(
                self.state.params, self.state.meta, stream, episodes, phase.update, self.group
            )
        self._log.append(
            **{
                "iteration": iteration,
                f"validation_{metric.name}": measured.mean,
                "validation_interval": measured.interval,
            }
        )
        self.progress.note(
            f"iteration {iteration}: validation {metric.name} "
            f"{metric.text(measured.mean, measured.interval)}"
        )
        is_kept = self.position.add_validation(
            measured.mean, self.config.keep_top, metric.is_higher_better
        )
        self._save(also_best=is_kept)
        self._prune()

    def _save(self, also_best: bool = False) -> None:
        self.position.seconds = time.monotonic() - self._began
        self.position.metrics_bytes = self._log.sync()
        self._saved = time.monotonic()
        if not self.group.is_first:
            return
        if also_best:
            self.state.save(self.run.best_checkpoint(self.position.iteration))
        self.state.save(self.run.last_checkpoint)

    def _prune(self) -> None:
        # After the last checkpoint names the best ones: a kill between the two leaves one too many.
        if self.group.is_first:
            self.run.prune_checkpoints([iteration for _, iteration in self.position.best])
