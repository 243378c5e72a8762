"""iMAML: the outer gradient from the implicit function theorem, whatever path the steps took."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import isfinite

import torch
from torch import Tensor

from episodes.errors import UsageError
from trainers.algorithms.base import Algorithm, TaskResult, named_moments
from trainers.algorithms.passes import Adaptation
from trainers.types import Params, Role, Task


@dataclass(frozen=True)
class IMAML(Algorithm):
    """The outer gradient is v with (I + H / lambda) v = g (Rajeswaran et al. 2019, algorithm 2).

    phi minimises the support loss plus lambda / 2 |phi - theta|^2, by the inner steps; H is the
    support loss's Hessian and g the query loss's gradient, both at phi; `cg_steps` conjugate
    gradients solve for v, which stop where the curvature is not positive (the authors' code damps
    instead). The outer loss's gradient is v, its value means nothing. Every weight adapts.

    Raises UsageError where `proximity` (lambda) is not positive or `cg_steps` below 1.
    """

    proximity: float = 2.0
    cg_steps: int = 5

    def __post_init__(self) -> None:
        if not (isfinite(self.proximity) and self.proximity > 0):
            raise UsageError(f"imaml: proximity is {self.proximity}, expected a number above 0")
        if self.cg_steps < 1:
            raise UsageError(f"imaml: cg_steps is {self.cg_steps}, expected at least 1")

    def adapts(self, role: Role) -> bool:
        """Every weight adapts."""
        return True

    def fit(
        self, how: Adaptation, params: Params, meta: Params, task: Task
    ) -> tuple[Params, TaskResult]:
        """As every algorithm's, on the regularised support loss, but for the outer loss; the model
        is a constant."""
        constant = replace(how, training=False)
        with torch.no_grad():
            passes = self.passes(constant, params, task)
            fast, result = self.adapt_and_pass(constant, passes, meta, task)
            model = fast | named_moments(passes.final_query_moments(fast))
            if not how.training:
                return model, result
            last = how.steps - 1
            query_grads = torch.func.grad(lambda weights: passes.query(weights, last)[0])(fast)
            support_gradient = torch.func.grad(lambda weights: passes.support(weights, last).loss)
            # The Hessian is symmetric, so pulling a vector back multiplies by it.
            hessian_times = torch.func.vjp(support_gradient, fast)[1]

            def matrix(vector: Params) -> Params:
                """(I + H / lambda) v; the regularised loss's Hessian is H + lambda I."""
                (product,) = hessian_times(vector)
                return {name: tensor / self.proximity for name, tensor in product.items()}

            solution = conjugate_gradients(matrix, query_grads, self.cg_steps)
        terms = [(params[name] * direction).sum() for name, direction in solution.items()]
        return model, result._replace(outer_loss=torch.stack(terms).sum())


def conjugate_gradients(matrix: Callable[[Params], Params], target: Params, steps: int) -> Params:
    """x with matrix(x) = target after `steps` steps from zero, matrix positive definite."""
    solution = {name: torch.zeros_like(tensor) for name, tensor in target.items()}
    residual = direction = target
    norm = _dot(residual, residual)
    for _ in range(steps):
        product = matrix(direction)
        length = _ratio(norm, _dot(direction, product))
        solution = _moved(solution, length, direction)
        residual = _moved(residual, -length, product)
        previous, norm = norm, _dot(residual, residual)
        direction = _moved(residual, _ratio(norm, previous), direction)
    return solution


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """0 where the denominator is not positive: the system is solved, or the curvature is not up."""
    is_positive = denominator > 0
    return torch.where(is_positive, numerator / torch.where(is_positive, denominator, 1), 0)


def _dot(left: Params, right: Params) -> Tensor:
    return torch.stack([(tensor * right[name]).sum() for name, tensor in left.items()]).sum()


def _moved(start: Params, length: Tensor, direction: Params) -> Params:
    return {name: tensor + length * direction[name] for name, tensor in start.items()}
