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
from trainers.types import Params, Task

Recorded = Callable[[Params, Params, Task], tuple[tuple[Params, Params], TaskResult]]


class CompiledOuterGradient:
    """The gradients of the tasks' mean outer loss, compiled for each shape that it meets.

    Tasks must be batched. The numbers are those of the recorded function up to the order in which
    sums are taken. Compiling takes some tens of seconds and a C++ compiler, or a GPU.
    """

    def __init__(self, algorithm: Algorithm) -> None:
        self._algorithm = algorithm
        self._compiled: dict[Any, Recorded] = {}

    def __call__(
        self, how: Adaptation, params: Params, meta: Params, tasks: Task
    ) -> tuple[Params, Params, TaskResult]:
        """Gradients of `params` and of `meta`, and the results, without a graph."""
        inputs = (_constants(params), _constants(meta), tasks)
        shapes = tuple(tensor.shape for tensor in tasks[:4])
        key = (how, shapes)
        if key not in self._compiled:
            recorded = make_fx(self._gradient(how))(*inputs)
            recorded.graph.eliminate_dead_code()
            recorded.recompile()
            self._compiled[key] = torch.compile(recorded)
        try:
            (params_grads, meta_grads), result = self._compiled[key](*inputs)
        except InductorError as error:
            raise EpisodesError(
                f"--compile: torch's compiler failed ({str(error).splitlines()[0]}): "
                "install a C++ compiler, or leave --compile out"
            ) from None
        return params_grads, meta_grads, result

    def _gradient(self, how: Adaptation) -> Recorded:
        def mean_outer_loss(params: Params, meta: Params, tasks: Task) -> tuple[Tensor, TaskResult]:
            result = self._algorithm.run_batch(how, params, meta, tasks)
            return result.outer_loss.mean(), result

        return torch.func.grad(mean_outer_loss, argnums=(0, 1), has_aux=True)


def _constants(tensors: Params) -> Params:
    return {name: tensor.detach() for name, tensor in tensors.items()}
