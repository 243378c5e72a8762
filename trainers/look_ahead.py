"""One step ahead: how well the weights after an outer step do on fresh tasks."""

from dataclasses import replace

from torch import Tensor

from trainers.algorithms import Adaptation
from trainers.group import Group
from trainers.learner import Learner
from trainers.outer_gradient import MetaBatch, flat_gradients
from trainers.types import Params, Task


class LookAhead:
    """The validation loss, the mean outer loss of some fresh tasks, after a step of gradient
    descent from `params` and `meta` at `rate`, without any regularizer."""

    def __init__(
        self,
        learner: Learner,
        how: Adaptation,
        params: Params,
        meta: Params,
        fresh: Task,
        rate: float,
        group: Group,
    ) -> None:
        self._learner = replace(learner, regularizer=None, compiled=None, captured=None)
        self._how, self._fresh, self._rate, self._group = how, fresh, rate, group
        self._params, self._meta = params, meta
        self._trained = [t for t in (*params.values(), *meta.values()) if t.requires_grad]

    def validation_loss(self) -> Tensor:
        """That after a step along the gradients that the tensors hold, 0-d."""
        direction = flat_gradients([tensor.grad for tensor in self._trained], self._trained)
        return self._batch(direction)[0].adapt().outer_loss.mean()

    def weight_gradients(self, task_gradients: Tensor, probabilities: Tensor) -> Tensor:
        """Its derivatives `[N]` with respect to the probabilities `[N]` of tasks, whose outer
        losses have the gradients `[N, D]`: -rate * <gradient of the validation loss after the step
        along the mean gradient, gradient of the task's loss>."""
        batch, ahead = self._batch(probabilities.to(task_gradients) @ task_gradients)
        batch.gradient()
        slope = flat_gradients([tensor.grad for tensor in ahead], ahead)
        return -self._rate * (task_gradients @ slope)

    def _batch(self, direction: Tensor) -> tuple[MetaBatch, list[Tensor]]:
        """The fresh tasks at the weights after the step, and those of the weights that moved."""
        steps = iter(direction.split([tensor.numel() for tensor in self._trained]))

        def moved(tensor: Tensor) -> Tensor:
            if not tensor.requires_grad:
                return tensor
            step = self._rate * next(steps).view_as(tensor)
            return (tensor.detach() - step).requires_grad_()

        params = {name: moved(tensor) for name, tensor in self._params.items()}
        meta = {name: moved(tensor) for name, tensor in self._meta.items()}
        ahead = [t for t in (*params.values(), *meta.values()) if t.requires_grad]
        batch = MetaBatch(self._learner, self._how, params, meta, self._fresh, self._group)
        return batch, ahead
