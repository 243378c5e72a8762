"""The outer gradient as one compiled function of tensors.

A small network spends nearly all its time between the operations. Here those of a whole outer step
are recorded once, function transforms and all, and compiled by torch's own compiler.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._inductor.exc import InductorError
from torch.fx.experimental.proxy_tensor import make_fx

from episodes.errors import EpisodesError
from trainers.algorithms import Adaptation, Algorithm, TaskResult
from trainers.regularizers import Consistency, TRLearner
from trainers.types import Params, Task

Seen = tuple[TaskResult] | tuple[TaskResult, Consistency]
"""Without a regularizer the results alone: what comes out of a function transform is tensors."""

Recorded = Callable[[Params, Params, Task, Tensor | None], tuple[tuple[Params, Params], Seen]]


class CompiledOuterGradient:
    """The gradients of the tasks' mean outer loss, and of what a regularizer adds to it, compiled
    for each shape that it meets.

    Tasks must be batched. The numbers are those of the recorded function up to the order in which
    sums are taken. Compiling takes some tens of seconds and a C++ compiler, or a GPU.
    """

    def __init__(self, algorithm: Algorithm, regularizer: TRLearner | None = None) -> None:
        self._algorithm, self._regularizer = algorithm, regularizer
        self._compiled: dict[Any, Recorded] = {}

    def __call__(
        self,
        how: Adaptation,
        params: Params,
        meta: Params,
        tasks: Task,
        order: Tensor | None = None,
    ) -> tuple[Params, Params, TaskResult, Consistency | None]:
        """Gradients of `params` and of `meta`, the results without a graph, and what the
        regularizer measured; `order` is as in `trainers.outer_gradient`."""
        inputs = (_constants(params), _constants(meta), tasks, order)
        shapes = tuple(tensor.shape for tensor in tasks[:4])
        key = (how, shapes)
        if key not in self._compiled:
            recorded = make_fx(self._gradient(how))(*inputs)
            recorded.graph.eliminate_dead_code()
            recorded.recompile()
            self._compiled[key] = torch.compile(recorded)
        try:
            (params_grads, meta_grads), (result, *seen) = self._compiled[key](*inputs)
        except InductorError as error:
            raise EpisodesError(
                f"--compile: torch's compiler failed ({str(error).splitlines()[0]}): "
                "install a C++ compiler, or leave --compile out"
            ) from None
        return params_grads, meta_grads, result, seen[0] if seen else None

    def _gradient(self, how: Adaptation) -> Recorded:
        regularizer = self._regularizer

        def mean_outer_loss(
            params: Params, meta: Params, tasks: Task, order: Tensor | None
        ) -> tuple[Tensor, Seen]:
            models, result = self._algorithm.fit_batch(how, params, meta, tasks)
            loss = result.outer_loss.mean()
            if regularizer is None:
                return loss, (result,)
            added = regularizer(self._algorithm, how, params, models, tasks, order=order)
            return loss + regularizer.strength * added.loss, (result, added)

        return torch.func.grad(mean_outer_loss, argnums=(0, 1), has_aux=True)


def _constants(tensors: Params) -> Params:
    return {name: tensor.detach() for name, tensor in tensors.items()}
