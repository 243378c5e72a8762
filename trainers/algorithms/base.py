"""What an algorithm is: which weights adapt, and how the outer gradient is formed."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from trainers.algorithms.heads import initial_head
from trainers.algorithms.passes import Adaptation, Passes
from trainers.inner_loop import SupportPass, Trace, adapt
from trainers.types import Moments, ParamInfo, Params, Role, Task


class TaskResult(NamedTuple):
    """The outcome of one task, or of a batch of tasks with a leading axis.

    `outer_loss`, 0-d, is what the outer loop differentiates; `query_loss`, 0-d, and `outputs` `[Q,
    o]` are those of the adapted weights; `trace` tells what the inner steps did.
    """

    outer_loss: Tensor
    query_loss: Tensor
    outputs: Tensor
    trace: Trace


def detached(result: TaskResult) -> TaskResult:
    """The result without its graph."""
    return TaskResult(
        result.outer_loss.detach(),
        result.query_loss.detach(),
        result.outputs.detach(),
        result.trace,
    )


def joined(results: Sequence[TaskResult]) -> TaskResult:
    """Single results as those of a batch of tasks."""
    traces = [torch.stack(tensors) for tensors in zip(*(r.trace for r in results), strict=True)]
    return TaskResult(
        torch.stack([result.outer_loss for result in results]),
        torch.stack([result.query_loss for result in results]),
        torch.stack([result.outputs for result in results]),
        Trace(*traces),
    )


def concatenated(results: Sequence[TaskResult]) -> TaskResult:
    """The results of several batches of tasks as those of one."""
    if len(results) == 1:
        return results[0]
    traces = [torch.cat(tensors) for tensors in zip(*(r.trace for r in results), strict=True)]
    return TaskResult(
        torch.cat([result.outer_loss for result in results]),
        torch.cat([result.query_loss for result in results]),
        torch.cat([result.outputs for result in results]),
        Trace(*traces),
    )


MOMENT = "moment/"


def named_moments(moments: Moments) -> Params:
    """Moments as tensors of a task's model."""
    pairs = enumerate(moments)
    return {f"{MOMENT}{i}/{j}": moment for i, pair in pairs for j, moment in enumerate(pair)}


def moments_of(model: Params) -> Moments | None:
    """The moments among the tensors of a task's model, None where it has none."""
    count = sum(name.startswith(MOMENT) for name in model) // 2
    pairs = [(model[f"{MOMENT}{i}/0"], model[f"{MOMENT}{i}/1"]) for i in range(count)]
    return pairs or None


class Algorithm(ABC):
    """A meta-learning algorithm; it holds settings only."""

    proximity = 0.0
    """Half of it times the squared distance from the start is added to the support loss."""

    @abstractmethod
    def adapts(self, role: Role) -> bool:
        """Whether the inner loop changes parameters of this role."""

    def trains(self, info: ParamInfo) -> bool:
        """Whether the outer loop trains the initial value of this tensor; by default it does."""
        return True

    def init(self, infos: Sequence[ParamInfo], generator: torch.Generator) -> Params:
        """Tensors of the algorithm's own, which the outer loop trains and no inner loop changes.

        None by default. `infos` are all of the backbone's tensors.
        """
        return {}

    @property
    def draws_noise(self) -> bool:
        """Whether `noise` gives anything; by default it does not."""
        return False

    def noise(self, infos: Sequence[ParamInfo], generator: torch.Generator) -> Params:
        """What is drawn at random for one task, on the CPU; nothing by default."""
        return {}

    def gradient_masks(self, infos: Sequence[ParamInfo], params: Params, task: Task) -> Params:
        """Factors of the adapted tensors' gradients in every step of a task; none by default."""
        return {}

    def effective(self, params: Params) -> Params:
        """The weights that the network is passed with; by default those that adapt."""
        return params

    def passes(self, how: Adaptation, params: Params, task: Task) -> Passes:
        """The passes of a task's sets; features are computed once where the body does not adapt."""
        infos = how.infos(self.adapts)
        is_body_fixed = not any(info.adapted for info in infos if info.role != "head")
        params = params | initial_head(how, self.effective(params), task)
        masks = self.gradient_masks(infos, params, task)
        return Passes(
            how, infos, params, task, self.effective, is_body_fixed, masks, self.proximity
        )

    def run(self, how: Adaptation, params: Params, meta: Params, task: Task) -> TaskResult:
        """Adapt to the task's support set in `how.steps` steps, then pass its query set.

        Query inputs are normalised by their own moments where `how.bn` is `batch` (transductive:
        they see each other) or `per-step`; by the support set's under the adapted weights where it
        is `support`; and, outside training, where it is `running`, by the moving average of the
        support set's over the inner steps.
        """
        with torch.set_grad_enabled(how.training):
            return self.fit(how, params, meta, task)[1]

    def fit(
        self, how: Adaptation, params: Params, meta: Params, task: Task
    ) -> tuple[Params, TaskResult]:
        """`run`, and the task's model: what `predict` takes besides the `params` of all tasks."""
        passes = self.passes(how, params, task)
        fast, result = self.adapt_and_pass(how, passes, meta, task)
        return fast | named_moments(passes.final_query_moments(fast)), result

    def losses_before(
        self, how: Adaptation, params: Params, meta: Params, task: Task, with_query: bool
    ) -> tuple[Tensor, Tensor | None]:
        """The loss of the support set, and of the query set if asked for, before any step."""
        passes = self.passes(how, params, task)
        query = passes.query(passes.initial, 0)[0] if with_query else None
        return passes.support(passes.initial, 0).loss, query

    def predict(self, how: Adaptation, params: Params, model: Params, inputs: Tensor) -> Tensor:
        """Outputs `[n, o]` of inputs by a task's model, normalised as a query set, `run`."""
        weights = self.weights_at(how, params | model, how.steps - 1)
        return how.backbone.logits(weights, self.model_features(how, weights, model, inputs))

    def model_features(
        self, how: Adaptation, weights: Params, model: Params, inputs: Tensor
    ) -> Tensor:
        """Features `[n, d]` under these weights, normalised by the model's moments if it has any,
        else by the inputs' own."""
        return how.backbone.features(weights, inputs, moments_of(model))

    def weights_at(self, how: Adaptation, params: Params, j: int) -> Params:
        """What the network is passed with at step j (0: before any)."""
        return how.at_step(self.effective(params), how.infos(self.adapts), j)

    def adapt_and_pass(
        self, how: Adaptation, passes: Passes, meta: Params, task: Task
    ) -> tuple[Params, TaskResult]:
        """The fast weights too; the outer loss is the query loss, or its weighted sum."""
        losses: list[Tensor] = []

        def after_step(j: int, fast: Params, at: SupportPass) -> None:
            passes.note(at.moments)
            if how.query_weights is not None and j < how.steps - 1:
                losses.append(passes.query(fast, j)[0])

        fast, trace = adapt(
            passes.support,
            task.support_targets,
            how.scheme,
            meta,
            passes.adapting,
            passes.initial,
            how.steps,
            differentiate=how.differentiate(),
            graph=passes.graph,
            fixed=passes.fixed,
            masks=passes.masks,
            after_step=after_step,
            ways=passes.ways,
        )
        query_loss, outputs = passes.query(fast, how.steps - 1)
        outer_loss = query_loss
        if how.query_weights is not None:
            each = zip(how.query_weights, [*losses, query_loss], strict=True)
            outer_loss = torch.stack([weight * loss for weight, loss in each]).sum()
        return fast, TaskResult(outer_loss, query_loss, outputs, trace)

    def run_batch(self, how: Adaptation, params: Params, meta: Params, tasks: Task) -> TaskResult:
        """`run` on every task of a batch at once; `how.batched` must be set."""
        return torch.func.vmap(lambda *task: self.run(how, params, meta, Task(*task)))(*tasks)

    def fit_batch(
        self, how: Adaptation, params: Params, meta: Params, tasks: Task
    ) -> tuple[Params, TaskResult]:
        """`fit` on every task of a batch at once; `how.batched` must be set."""
        return torch.func.vmap(lambda *task: self.fit(how, params, meta, Task(*task)))(*tasks)


def initial(
    algorithm: Algorithm,
    how: Adaptation,
    generator: torch.Generator,
    device: torch.device | str,
) -> tuple[Params, Params]:
    """Initial weights and meta-parameters; those that the outer loop trains require gradients.

    Scale and offset of batch normalisation have a first axis of `how.steps` where `how.bn` is
    per-step. The scheme sees a head of one row where its rows share their rates.
    """
    infos = how.backbone.param_infos(algorithm.adapts)
    params = how.backbone.init(generator)
    if how.bn == "per-step":
        for info in infos:
            if info.role == "norm":
                params[info.name] = params[info.name].expand(how.steps, *info.shape).clone()
    adapted = [
        replace(info, shape=(1, *info.shape[1:]))
        if how.shared_head_rates and info.role == "head"
        else info
        for info in infos
        if info.adapted
    ]
    meta = how.scheme.init(adapted, how.steps, generator)
    params |= algorithm.init(infos, generator)
    constant = {info.name for info in infos if not algorithm.trains(info)}
    constant |= {info.name for info in infos if not how.scheme.trains(info)}
    if how.head_init != "learned":
        constant |= {info.name for info in infos if info.role == "head"}
    trained = {
        name: tensor.detach().to(device).requires_grad_(name not in constant)
        for name, tensor in params.items()
    }
    return trained, {n: tensor.detach().to(device).requires_grad_() for n, tensor in meta.items()}
