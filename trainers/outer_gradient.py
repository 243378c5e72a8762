"""The outer gradient in two phases: all tasks adapt, then each one's graph is reversed."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from trainers.algorithms import Adaptation, TaskResult
from trainers.algorithms.base import concatenated, detached, joined
from trainers.group import Group
from trainers.inner_loop import Trace
from trainers.learner import Learner
from trainers.padding import filled_up, one_by_one
from trainers.regularizers import Consistency
from trainers.types import Params, Task, some_tasks

if TYPE_CHECKING:
    from trainers.compiled import CompiledOuterGradient


@dataclass(frozen=True)
class OuterStep:
    """What an outer step measured: the tasks' mean query loss and figure, and for each inner step
    the mean rate and the share of tasks in the rate scheme's first branch (None without
    branches).

    `losses` and `figures` are those of each task, float64 `[N]`; `is_finite` tells whether all
    gradients are; `consistency` is TRLearner's loss and `relations` `[N, N]` what it was made with,
    None without it.
    """

    loss: float
    figure: float
    rates: list[float]
    branches: list[float] | None
    losses: Tensor
    figures: Tensor
    is_finite: bool
    consistency: float | None = None
    relations: Tensor | None = None


class Unmeasured(NamedTuple):
    """What differentiating a meta-batch leaves on the device: results of all tasks, whether all
    gradients are finite, bool 0-d, and what the regularizer measured."""

    results: TaskResult
    is_finite: Tensor
    consistency: Consistency | None


def outer_gradient(
    learner: Learner,
    how: Adaptation,
    params: Params,
    meta: Params,
    tasks: Task,
    order: Tensor | None = None,
    group: Group | None = None,
) -> OuterStep:
    """Sets the gradients of `params` and `meta` to those of the tasks' mean outer loss, and of what
    the learner's regularizer adds; `order` is as in `MetaBatch`.

    Where tasks are not batched each is run and differentiated alone, its loss divided by their
    number.
    """
    group = group or Group()

    def differentiated(
        params: Params, meta: Params, tasks: Task, order: Tensor | None
    ) -> Unmeasured:
        return MetaBatch(learner, how, params, meta, tasks, group, order).differentiated()

    if learner.compiled is not None:
        found = _by_compiler(learner.compiled, how, params, meta, tasks, order)
    elif learner.captured is not None and group.world == 1:
        found = learner.captured(differentiated, how, params, meta, tasks, order)
    else:
        found = differentiated(params, meta, tasks, order)
    return measured(learner, found, tasks)


def _by_compiler(
    compiled: "CompiledOuterGradient",
    how: Adaptation,
    params: Params,
    meta: Params,
    tasks: Task,
    order: Tensor | None,
) -> Unmeasured:
    grads, meta_grads, results, consistency = compiled(how, params, meta, tasks, order)
    for tensors, of_tensors in ((params, grads), (meta, meta_grads)):
        for name, tensor in tensors.items():
            tensor.grad = of_tensors[name] if tensor.requires_grad else None
    return Unmeasured(results, all_finite((*params.values(), *meta.values())), consistency)


class Fit(NamedTuple):
    """Tasks adapted to at once, with their graph: positions in the meta-batch, models `[m, ...]`
    and results of m tasks."""

    positions: list[int]
    models: Params
    result: TaskResult


class MetaBatch:
    """A meta-batch of which this process adapts to its share, and what its gradient is made of.

    The outer loss is the mean of the tasks' outer losses, each times its weight if there are any,
    plus what the learner's regularizer adds. `order` `[N]` is the permutation that shuffled
    relations take.
    """

    def __init__(
        self,
        learner: Learner,
        how: Adaptation,
        params: Params,
        meta: Params,
        tasks: Task,
        group: Group | None = None,
        order: Tensor | None = None,
    ) -> None:
        self._learner, self._how, self._params, self._meta = learner, how, params, meta
        self._tasks, self._group, self._order = tasks, group or Group(), order
        self._count = len(tasks.support_targets)
        self._own = self._group.share(self._count)
        self._trained = [t for t in (*params.values(), *meta.values()) if t.requires_grad]
        self._fits: list[Fit] = []
        self._each: list[tuple[Tensor | None, ...]] = []

    def adapt(self) -> TaskResult:
        """Adapt to all tasks and hold their graphs; the results of all, detached."""
        self._fits = list(self._adapted())
        return self._gathered([detached(fit.result) for fit in self._fits])

    def gradient(self, weights: Tensor | None = None) -> OuterStep:
        """Sets the gradients of weights and meta-parameters; `weights` `[N]` multiply the tasks'
        outer losses.

        Graphs are used up. Where nothing ties the tasks together and `adapt` was not called, one is
        held at a time.
        """
        return measured(self._learner, self.differentiated(weights), self._tasks)

    def differentiated(self, weights: Tensor | None = None) -> Unmeasured:
        """`gradient`, without waiting for the device where tasks are batched in one process."""
        for tensor in (*self._params.values(), *self._meta.values()):
            tensor.grad = None
        if self._learner.regularizer is not None and not self._fits:
            self.adapt()
        consistency, cotangents = self._regularized()
        results = []
        if self._each and weights is not None and not (cotangents or self._how.batched):
            self._add_up(weights)
            results = [detached(fit.result) for fit in self._fits]
        else:
            for fit in self._fits or self._adapted():
                self._reverse(fit, weights, cotangents)
                results.append(detached(fit.result))
        self._fits, self._each = [], []
        self._group.sum_gradients(self._trained)
        return Unmeasured(self._gathered(results), all_finite(self._trained), consistency)

    def task_gradients(self) -> Tensor:
        """The gradient `[N, D]` of each task's outer loss, all trained tensors in one row.

        `adapt` must have been called, and the graphs stay.
        """
        self._each = [
            torch.autograd.grad(
                loss / self._count, self._trained, retain_graph=True, allow_unused=True
            )
            for fit in self._fits
            for loss in fit.result.outer_loss
        ]
        rows = [self._count * flat_gradients(found, self._trained) for found in self._each]
        return self._group.gathered(torch.stack(rows))

    def _adapted(self) -> Iterator[Fit]:
        learner, how, params, meta = self._learner, self._how, self._params, self._meta
        own = some_tasks(self._tasks, self._own)
        if how.batched:
            yield Fit(self._own, *learner.algorithm.fit_batch(how, params, meta, own))
            return
        for position, (how_alone, task) in zip(self._own, one_by_one(how, own), strict=True):
            model, result = learner.algorithm.fit(how_alone, params, meta, task)
            stacked = {name: tensor[None] for name, tensor in model.items()}
            yield Fit([position], stacked, joined([filled_up(result, how, own)]))

    def _regularized(self) -> tuple[Consistency | None, Params]:
        """What the regularizer measured, and what it adds to the models' gradients."""
        regularizer = self._learner.regularizer
        if regularizer is None:
            return None, {}
        own = {
            name: torch.cat([fit.models[name] for fit in self._fits])
            for name in self._fits[0].models
        }
        models = {
            name: tensor.detach().requires_grad_(tensor.is_floating_point())
            for name, tensor in self._group.gathered_params(own).items()
        }
        has_gradient = regularizer.strength > 0
        with torch.set_grad_enabled(has_gradient):
            part = regularizer(
                self._learner.algorithm,
                self._how,
                self._params,
                models,
                self._tasks,
                None if self._group.world == 1 else self._own,
                self._order,
            )
        if has_gradient and part.loss.requires_grad:
            (regularizer.strength * part.loss).backward()
        total = part.loss.detach().clone()
        self._group.sum_([total])
        found = Consistency(total, part.relations)
        if not has_gradient:
            return found, {}
        cotangents = {
            name: torch.zeros_like(tensor) if tensor.grad is None else tensor.grad
            for name, tensor in models.items()
        }
        self._group.sum_(cotangents.values())
        return found, cotangents

    def _reverse(self, fit: Fit, weights: Tensor | None, cotangents: Params) -> None:
        losses = fit.result.outer_loss
        if weights is not None:
            losses = losses * _rows(weights, fit.positions).to(losses)
        roots, gradients = [(losses / self._count).sum()], [torch.ones_like(losses[0])]
        for name, cotangent in cotangents.items():
            if fit.models[name].requires_grad:
                roots.append(fit.models[name])
                gradients.append(_rows(cotangent, fit.positions))
        torch.autograd.backward(roots, gradients)

    def _add_up(self, weights: Tensor) -> None:
        """What `_reverse` would give, from the single tasks' gradients."""
        for weight, found in zip(weights[self._own].tolist(), self._each, strict=True):
            for tensor, gradient in zip(self._trained, found, strict=True):
                if gradient is not None:
                    part = weight * gradient
                    tensor.grad = part if tensor.grad is None else tensor.grad + part

    def _gathered(self, results: list[TaskResult]) -> TaskResult:
        own = concatenated(results)
        outer, query, outputs = map(self._group.gathered, own[:3])
        return TaskResult(outer, query, outputs, Trace(*map(self._group.gathered, own.trace)))


def measured(learner: Learner, found: Unmeasured, tasks: Task) -> OuterStep:
    """What differentiating a meta-batch left on the device, as a record on the host."""
    trace = found.results.trace
    losses, rates = found.results.query_loss.to("cpu", copy=True), trace.rates.cpu()
    branches = trace.branches.cpu().mean(0)
    figures = learner.metric.of(found.results.outputs, tasks.query_targets)
    added = found.consistency
    return OuterStep(
        loss=losses.mean().item(),
        figure=figures.mean().item(),
        rates=rates.mean((0, *range(2, rates.dim()))).tolist(),
        branches=None if branches.isnan().any() or not len(branches) else branches.tolist(),
        losses=losses.double(),
        figures=figures.cpu().double(),
        is_finite=bool(found.is_finite),
        consistency=None if added is None else added.loss.item(),
        relations=None if added is None else added.relations.to("cpu", copy=True),
    )


def all_finite(tensors: Iterable[Tensor]) -> Tensor:
    """Whether the gradients that the tensors hold are finite, bool 0-d."""
    gradients = [tensor.grad.flatten() for tensor in tensors if tensor.grad is not None]
    return torch.cat(gradients).isfinite().all() if gradients else torch.tensor(True)


def _rows(tensor: Tensor, positions: list[int]) -> Tensor:
    # A list as an index is copied to the device, which a CUDA graph cannot do.
    return tensor if positions == list(range(len(tensor))) else tensor[positions]


def flat_gradients(gradients: Sequence[Tensor | None], tensors: Sequence[Tensor]) -> Tensor:
    """The gradients of tensors in one row, zeros for those that have none."""
    pairs = zip(gradients, tensors, strict=True)
    return torch.cat([(t.new_zeros(t.numel()) if g is None else g.flatten()) for g, t in pairs])
