"""The compiled outer gradient against the same without the compiler."""

from dataclasses import replace

import pytest
import torch

from trainers.algorithms import MAML
from trainers.algorithms.base import initial
from trainers.algorithms.passes import Adaptation
from trainers.backbones import MLP
from trainers.compiled import CompiledOuterGradient
from trainers.learner import Learner
from trainers.metrics import MSE
from trainers.outer_gradient import outer_gradient
from trainers.rates import Fixed
from trainers.types import Task

EAGER = Adaptation(
    backbone=MLP(inputs=1, outputs=1, hidden=(4,)),
    scheme=Fixed(0.1),
    loss=MSE.loss,
    way=1,
    steps=2,
    training=True,
    batched=True,
)


@pytest.mark.slow
def test_compiled_gradients_are_of_second_order() -> None:
    """Some compilers leave the second-order term out, in silence."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(4, 2, 5, 1, generator=generator, dtype=torch.float64)
    tasks = Task(*drawn)
    found = []
    for is_compiled, second_order in ((True, True), (False, True), (False, False)):
        how = replace(EAGER, second_order=second_order)
        params, meta = initial(MAML(), how, torch.Generator().manual_seed(1), "cpu")
        params = {name: t.detach().double().requires_grad_() for name, t in params.items()}
        compiled = CompiledOuterGradient(MAML()) if is_compiled else None
        learner = Learner(MAML(), how, how, MSE, "cpu", compiled=compiled)
        outer_gradient(learner, how, params, meta, tasks)
        found.append(torch.cat([t.grad.flatten() for t in params.values() if t.grad is not None]))

    second, expected, first = found
    torch.testing.assert_close(second, expected, rtol=1e-10, atol=1e-12)
    assert (second - first).norm() > 1e-3 * second.norm()
