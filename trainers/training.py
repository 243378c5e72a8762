"""The outer loop: meta-batches, Adam, validation and checkpoints; resumable at any instruction."""

import math
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass

import torch

from episodes.errors import EpisodesError
from trainers.evaluation import accuracy
from trainers.files import writing
from trainers.interrupt import Interrupted
from trainers.learner import Learner
from trainers.outer_state import OuterState
from trainers.progress import Progress
from trainers.run_directory import MetricsLog, RunDirectory
from trainers.streams import Streams
from trainers.types import Params, Task, tasks_from_batch

SECONDS_BETWEEN_CHECKPOINTS = 15.0


@dataclass(frozen=True)
class OuterStep:
    """What an outer step measured: the tasks' mean query loss and accuracy, and for each inner step
    the mean rate and the share of tasks in the rate scheme's first branch (None without
    branches)."""

    loss: float
    accuracy: float
    rates: list[float]
    branches: list[float] | None


def outer_gradient(
    learner: Learner, params: Params, meta: Params, tasks: Sequence[Task], steps: int
) -> OuterStep:
    """Sets the gradients of `params` and `meta` to those of the tasks' mean query loss.

    Each task is run and differentiated alone, its loss divided by their number, so that one graph
    is held at a time.
    """
    for tensor in (*params.values(), *meta.values()):
        tensor.grad = None
    losses, accuracies, rates, branches = [], [], [], []
    for task in tasks:
        result = learner.train_on(task, params, meta, steps)
        (result.query_loss / len(tasks)).backward()
        losses.append(result.query_loss.item())
        accuracies.append(accuracy(result, task))
        rates.append(result.trace.rates)
        branches.append(result.trace.branches)
    share = torch.stack(branches).mean(0)
    return OuterStep(
        loss=sum(losses) / len(losses),
        accuracy=sum(accuracies) / len(accuracies),
        rates=torch.stack(rates).mean(0).tolist(),
        branches=None if share.isnan().any() else share.tolist(),
    )


class Training:
    """The outer loop of one run in a locked run directory.

    Iteration k (from 0) trains on episodes k*B .. (k+1)*B - 1 of the training stream, B tasks a
    meta-batch. The weights and metrics.jsonl are the same, bit for bit, however often the run was
    killed and resumed.
    """

    def __init__(
        self,
        run: RunDirectory,
        state: OuterState,
        learner: Learner,
        streams: Streams,
        progress: Progress,
    ) -> None:
        self.run, self.state, self.learner = run, state, learner
        self.streams, self.progress = streams, progress
        self.config, self.position = state.config, state.position

    def train(self) -> None:
        """Do the iterations and validations that are left, and keep the checkpoints.

        Raises Interrupted after Ctrl-C, with a checkpoint written, and EpisodesError where the loss
        or the outer gradient is not finite.
        """
        self._began = time.monotonic() - self.position.seconds
        with writing(self.run.checkpoints):
            self.run.checkpoints.mkdir(exist_ok=True)
        with closing(MetricsLog(self.run.metrics, self.position.metrics_bytes)) as self._log:
            self._save()
            self._prune()
            try:
                self._iterate()
            except Interrupted:
                self._save()
                raise

    def _iterate(self) -> None:
        size, done, total = (
            self.config.meta_batch_size,
            self.position.iteration,
            self.config.iterations,
        )
        batches = self.streams.training.batches(size, done * size, total * size)
        with self.progress.phase("training", "iteration", total, done, size) as phase:
            self._validate_if_due()
            for batch in batches:
                step = self._outer_step(tasks_from_batch(batch, self.config.device))
                phase.update(self.position.iteration, step.loss, step.accuracy)
                self._validate_if_due()
                if time.monotonic() - self._saved > SECONDS_BETWEEN_CHECKPOINTS:
                    self._save()

    def _outer_step(self, tasks: Sequence[Task]) -> OuterStep:
        state = self.state
        step = outer_gradient(self.learner, state.params, state.meta, tasks, self.config.steps)
        if not math.isfinite(step.loss):
            raise self._diverged(f"the loss is {step.loss}", step)
        gradients = [t.grad for t in state.trained.values() if t.grad is not None]
        if not all(bool(gradient.isfinite().all()) for gradient in gradients):
            raise self._diverged(f"the loss is {step.loss:.6g}, its gradient not finite", step)
        if self.config.grad_clip is not None:
            torch.nn.utils.clip_grad_value_(state.trained.values(), self.config.grad_clip)
        state.optimizer.step()
        self.position.iteration += 1
        self._log.append(iteration=self.position.iteration, **asdict(step))
        return step

    def _diverged(self, what: str, step: OuterStep) -> EpisodesError:
        rates = ", ".join(f"{rate:.3g}" for rate in step.rates)
        return EpisodesError(
            f"iteration {self.position.iteration + 1}: {what} (inner rates by step: {rates}); "
            f"{self.run.last_checkpoint} is the last finite checkpoint: "
            "begin a new run with a lower inner or outer rate, or with --grad-clip"
        )

    def _validate_if_due(self) -> None:
        iteration, stream = self.position.iteration, self.streams.validation
        is_due = iteration == self.config.iterations or (
            iteration > 0 and iteration % self.config.validate_every == 0
        )
        if stream is None or not is_due or self.position.validated == iteration:
            return
        episodes, steps = self.config.val_episodes, self.config.eval_steps
        with self.progress.phase("validation", "episode", episodes) as phase:
            measured = self.learner.evaluate(
                self.state.params, self.state.meta, stream, episodes, steps, phase.update
            )
        self._log.append(
            iteration=iteration,
            validation_accuracy=measured.mean,
            validation_interval=measured.interval,
        )
        self.progress.note(
            f"iteration {iteration}: validation accuracy "
            f"{100 * measured.mean:.2f} ± {100 * measured.interval:.2f} %"
        )
        is_kept = self.position.add_validation(measured.mean, self.config.keep_top)
        self._save(also_best=is_kept)
        self._prune()

    def _save(self, also_best: bool = False) -> None:
        self.position.seconds = time.monotonic() - self._began
        self.position.metrics_bytes = self._log.sync()
        if also_best:
            self.state.save(self.run.best_checkpoint(self.position.iteration))
        self.state.save(self.run.last_checkpoint)
        self._saved = time.monotonic()

    def _prune(self) -> None:
        # After the last checkpoint names the best ones: a kill between the two leaves one too many.
        self.run.prune_checkpoints([iteration for _, iteration in self.position.best])
