"""Meta-learning for a user's own model: adapt it to a support set, or train what it starts from."""

from collections.abc import Iterator
from dataclasses import replace
from typing import get_args

import torch
from torch import Tensor, nn

from episodes.errors import UsageError
from trainers.algorithms import MAML, Adaptation, Algorithm, TaskResult
from trainers.algorithms.base import initial, joined
from trainers.backbones import Module
from trainers.metrics import ACCURACY, MSE
from trainers.rates import RateScheme
from trainers.types import BatchNormMode, Loss, Params, Role, Task, each_task


class MetaLearner:
    """A model, an algorithm and a rate scheme: what tasks are adapted to by.

    `model` is any module whose last layer is linear (or names it by `head`); its present weights
    are the initial ones. `parameters()` are what an outer optimiser trains: the initial weights and
    the scheme's meta-parameters, drawn by `seed`. Batch normalisation uses batch statistics. `way`
    is the number of outputs where an algorithm must know it. Raises UsageError for a model that
    cannot be adapted.
    """

    def __init__(
        self,
        model: nn.Module,
        scheme: RateScheme,
        algorithm: Algorithm | None = None,
        *,
        steps: int = 5,
        loss: Loss | None = None,
        way: int | None = None,
        first_order: bool = False,
        bn: BatchNormMode = "batch",
        head: str | None = None,
        seed: int = 0,
    ) -> None:
        self.algorithm = algorithm or MAML()
        if not any(map(self.algorithm.adapts, get_args(Role))):
            raise UsageError(
                f"{type(self.algorithm).__name__} adapts nothing by gradient: use `trainers run`"
            )
        if self.algorithm.draws_noise:
            raise UsageError("a masked TNet draws noise for each task: use `trainers run`")
        backbone = Module(model, head)
        infos = backbone.param_infos(self.algorithm.adapts)
        heads = [info for info in infos if info.role == "head"]
        self._how = Adaptation(
            backbone=backbone,
            scheme=scheme,
            loss=loss or _loss_by_targets,
            way=way or heads[0].shape[0],
            steps=steps,
            bn=bn,
            second_order=not first_order,
        )
        generator = torch.Generator().manual_seed(seed)
        device = next(model.parameters()).device
        self.params, self.meta = initial(self.algorithm, self._how, generator, device)

    def parameters(self) -> Iterator[Tensor]:
        """What the outer loop trains."""
        tensors = (*self.params.values(), *self.meta.values())
        return (tensor for tensor in tensors if tensor.requires_grad)

    def __call__(self, tasks: Task, *, batched: bool = False) -> TaskResult:
        """The results of a batch of tasks, with the graph from `outer_loss` `[B]` to `parameters`.

        `batched` adapts to all at once instead of one after the other.
        """
        how = replace(self._how, training=True, batched=batched)
        if batched:
            return self.algorithm.run_batch(how, self.params, self.meta, tasks)
        alone = [self.algorithm.run(how, self.params, self.meta, task) for task in each_task(tasks)]
        return joined(alone)

    def adapt(self, inputs: Tensor, targets: Tensor, steps: int | None = None) -> Params:
        """The model's weights, adapted to a support set, for `torch.func.functional_call`.

        `inputs` are what the model takes, `targets` labels `[n]` or values `[n, o]`.
        """
        how = replace(self._how, steps=self._how.steps if steps is None else steps)
        task = Task(inputs, targets, inputs, targets)
        with torch.no_grad():
            passes = self.algorithm.passes(how, self.params, task)
            fast, _ = self.algorithm.adapt_and_pass(how, passes, self.meta, task)
            weights = self.algorithm.effective(self.params | fast)
        infos = how.backbone.param_infos(self.algorithm.adapts)
        return {info.name: weights[info.name] for info in infos}


def adapt(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    scheme: RateScheme,
    *,
    algorithm: Algorithm | None = None,
    steps: int = 5,
    loss: Loss | None = None,
    head: str | None = None,
) -> Params:
    """A model's weights after `steps` inner steps of a rate scheme on a support set.

    The model is not changed: `torch.func.functional_call(model, weights, inputs)` uses them. See
    `MetaLearner` for the arguments, and for schemes and weights that were trained.
    """
    learner = MetaLearner(model, scheme, algorithm, steps=steps, loss=loss, head=head)
    return learner.adapt(inputs, targets)


def _loss_by_targets(outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy of labels, else mean squared error."""
    return (MSE if targets.is_floating_point() else ACCURACY).loss(outputs, targets)
