"""Algorithms against closed forms: on a quadratic loss, of a linear system, and of a path."""

from dataclasses import dataclass, replace
from functools import cached_property

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.trainers.exactness.problems import METHODS, NETWORK, SCHEMES, method, problem
from trainers.algorithms import IMAML, MAML, R2D2, Adaptation, Algorithm, Reptile
from trainers.algorithms.base import TaskResult
from trainers.backbones import MLP
from trainers.rates import Fixed, Hypergradient, RateScheme
from trainers.rates.meta_sgd import MetaSGD
from trainers.types import Params, Task

INPUTS, EXAMPLES, RATE = 3, 6, 0.1
LINEAR = MLP(INPUTS, 1, hidden=())


@dataclass(frozen=True)
class Quadratic:
    """Linear regression: the mean squared error of weights and bias v is v'Hv/2 - c'v + const."""

    task: Task
    start: Tensor

    def _form(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.cat([inputs, torch.ones(len(inputs), 1, dtype=inputs.dtype)], 1)
        return 2 * x.T @ x / len(x), 2 * (x.T @ targets).flatten() / len(x)

    @cached_property
    def support(self) -> tuple[Tensor, Tensor]:
        return self._form(self.task.support_inputs, self.task.support_targets)

    def query_gradient(self, v: Tensor) -> Tensor:
        hessian, linear = self._form(self.task.query_inputs, self.task.query_targets)
        return hessian @ v - linear

    def support_gradient(self, v: Tensor) -> Tensor:
        hessian, linear = self.support
        return hessian @ v - linear

    @property
    def contraction(self) -> Tensor:
        """What a step multiplies the distance from the minimum by, I - rate H."""
        return torch.eye(INPUTS + 1, dtype=torch.float64) - RATE * self.support[0]

    def after(self, steps: int) -> Tensor:
        minimum = torch.linalg.solve(*self.support)
        shrunk = torch.linalg.matrix_power(self.contraction, steps)
        return minimum + shrunk @ (self.start - minimum)

    @property
    def params(self) -> Params:
        weight, bias = self.start[None, :-1], self.start[-1:]
        values = {"head.weight": weight, "head.bias": bias}
        return {name: value.clone().requires_grad_() for name, value in values.items()}


@pytest.fixture
def quadratic() -> Quadratic:
    return draw(0)


def draw(seed: int) -> Quadratic:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    task = Task(
        normal(EXAMPLES, INPUTS), normal(EXAMPLES, 1), normal(EXAMPLES, INPUTS), normal(EXAMPLES, 1)
    )
    return Quadratic(task, normal(INPUTS + 1))


def run(
    algorithm: Algorithm,
    quadratic: Quadratic,
    steps: int,
    scheme: RateScheme | None = None,
    meta: Params | None = None,
    second_order: bool = True,
) -> tuple[TaskResult, Tensor]:
    """The result, and its outer gradient as one vector."""
    how = Adaptation(LINEAR, scheme or Fixed(RATE), F.mse_loss, 1, steps, training=True)
    how = replace(how, second_order=second_order)
    params = quadratic.params
    result = algorithm.run(how, params, meta or {}, quadratic.task)
    grads = torch.autograd.grad(result.outer_loss, list(params.values()), retain_graph=True)
    return result, flat(grads)


def flat(tensors) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])


def close(ours: Tensor, expected: Tensor, tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(ours, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_maml(quadratic, steps):
    _, gradient = run(MAML(), quadratic, steps)

    backwards = torch.linalg.matrix_power(quadratic.contraction, steps)
    close(gradient, backwards @ quadratic.query_gradient(quadratic.after(steps)))


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_fomaml(quadratic, steps):
    _, gradient = run(MAML(), quadratic, steps, second_order=False)

    close(gradient, quadratic.query_gradient(quadratic.after(steps)))


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_reptile(quadratic, steps):
    _, gradient = run(Reptile(), quadratic, steps)

    close(gradient, quadratic.start - quadratic.after(steps))


@pytest.mark.parametrize("steps", [1, 5])
def test_imaml_solves_at_wherever_the_steps_led(quadratic, steps):
    proximity = 0.7

    _, gradient = run(IMAML(proximity, cg_steps=INPUTS + 1), quadratic, steps)

    v = quadratic.start
    for _ in range(steps):
        v = v - RATE * (quadratic.support_gradient(v) + proximity * (v - quadratic.start))
    matrix = torch.eye(INPUTS + 1, dtype=torch.float64) + quadratic.support[0] / proximity
    close(gradient, torch.linalg.solve(matrix, quadratic.query_gradient(v)))


def test_imaml_differentiates_the_proximal_minimum(quadratic):
    """Where the steps reach it, the gradient is that of the query loss at argmin, as a function of
    the start."""
    proximity = 0.7
    hessian, linear = quadratic.support
    start = quadratic.start.clone().requires_grad_()
    identity = torch.eye(INPUTS + 1, dtype=torch.float64)
    weights = torch.linalg.solve(hessian + proximity * identity, linear + proximity * start)
    task = quadratic.task
    outputs = task.query_inputs @ weights[:-1, None] + weights[-1]
    (expected,) = torch.autograd.grad(F.mse_loss(outputs, task.query_targets), start)

    _, gradient = run(IMAML(proximity, cg_steps=INPUTS + 1), quadratic, 400)

    close(gradient, expected)


def test_imaml_on_a_network():
    """Against a dense solve with the Hessian of a network without the package's passes."""
    at = problem(method(IMAML(20.0, cg_steps=200)), SCHEMES["fixed"], 2)
    task = at.task()
    names, shapes = list(at.params), [tensor.shape for tensor in at.params.values()]
    start = flat(at.params.values()).detach()

    def loss(v: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        parts = v.split([shape.numel() for shape in shapes])
        params = {n: p.view(s) for n, p, s in zip(names, parts, shapes, strict=True)}
        features = NETWORK.features(params, inputs)
        return F.cross_entropy(NETWORK.logits(params, features), targets)

    def support(v: Tensor) -> Tensor:
        return loss(v, task.support_inputs, task.support_targets)

    v = start
    for _ in range(2):
        v = v - 0.1 * (torch.func.grad(support)(v) + 20.0 * (v - start))
    query_gradient = torch.func.grad(loss)(v, task.query_inputs, task.query_targets)
    hessian = torch.autograd.functional.hessian(support, v)
    expected = torch.linalg.solve(torch.eye(len(v)) + hessian / 20.0, query_gradient)

    gradient = torch.autograd.grad(at.outer_loss(), list(at.params.values()))

    close(flat(gradient), expected)
    assert (flat(gradient) - query_gradient).abs().max() > 1e-4


def test_reptile_on_a_network():
    at = problem(method(Reptile()), SCHEMES["fixed"], 3)
    task, weights = at.task(), dict(at.params)
    for _ in range(3):
        leaves = {name: tensor.detach().requires_grad_() for name, tensor in weights.items()}
        logits = NETWORK.logits(leaves, NETWORK.features(leaves, task.support_inputs))
        loss = F.cross_entropy(logits, task.support_targets)
        grads = torch.autograd.grad(loss, list(leaves.values()))
        weights = {n: leaves[n] - 0.1 * g for n, g in zip(leaves, grads, strict=True)}

    gradient = torch.autograd.grad(at.outer_loss(), list(at.params.values()))

    expected = [at.params[name] - weights[name] for name in weights]
    close(flat(gradient), flat(expected).detach())


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_hypergradient(quadratic, steps):
    """Alpha MAML, eq. 4, for one step; -S g_query H (I - alpha H)^(S-1) (v - minimum) for S."""
    meta = {"rate": torch.tensor(RATE, dtype=torch.float64, requires_grad=True)}

    result, _ = run(MAML(), quadratic, steps, Hypergradient(), meta)

    (gradient,) = torch.autograd.grad(result.outer_loss, meta["rate"])
    query_gradient = quadratic.query_gradient(quadratic.after(steps))
    # H (v - minimum) after S - 1 steps is the gradient there.
    last = quadratic.support_gradient(quadratic.after(steps - 1))
    close(gradient, -steps * query_gradient @ last)


def test_hypergradient_of_a_batch_is_the_mean_over_its_tasks():
    """Eq. 9."""
    meta = {"rate": torch.tensor(RATE, dtype=torch.float64, requires_grad=True)}
    drawn = [draw(seed) for seed in range(3)]
    one_start = [replace(each, start=drawn[0].start) for each in drawn]
    columns = zip(*(each.task[:4] for each in drawn), strict=True)
    tasks = Task(*(torch.stack(column) for column in columns))
    how = Adaptation(LINEAR, Hypergradient(), F.mse_loss, 1, 1, training=True, batched=True)

    result = MAML().run_batch(how, drawn[0].params, meta, tasks)

    (gradient,) = torch.autograd.grad(result.outer_loss.mean(), meta["rate"])
    products = [q.query_gradient(q.after(1)) @ q.support_gradient(q.start) for q in one_start]
    close(gradient, -torch.stack(products).mean())


def test_meta_sgd(quadratic):
    """One step: d/d alpha = -g_query * g_support, elementwise."""
    start = quadratic.params
    meta = {f"rate/{n}": torch.full_like(t, RATE).requires_grad_() for n, t in start.items()}

    result, _ = run(MAML(), quadratic, 1, MetaSGD(), meta)

    gradient = flat(torch.autograd.grad(result.outer_loss, list(meta.values())))
    query_gradient = quadratic.query_gradient(quadratic.after(1))
    close(gradient, -query_gradient * quadratic.support_gradient(quadratic.start))


@pytest.mark.parametrize("examples", [3, 40], ids=["fewer-examples", "fewer-features"])
def test_r2d2_is_a_least_squares_problem(examples):
    """min |X W - Y|^2 / n + lambda |W|^2 is least squares with rows sqrt(lambda) I below."""
    generator = torch.Generator().manual_seed(0)
    inputs, values, query = (
        torch.randn(n, d, generator=generator, dtype=torch.float64)
        for n, d in ((examples, 5), (examples, 2), (4, 5))
    )
    backbone, ridge = MLP(5, 2, hidden=()), 0.3
    how = Adaptation(backbone, Fixed(), F.mse_loss, 2, 0)
    extra = {
        "ridge/scale": torch.tensor(1.7, dtype=torch.float64),
        "ridge/offset": torch.tensor(0.4, dtype=torch.float64),
    }
    params = backbone.init(generator) | extra
    task = Task(inputs, values, query, torch.zeros(4, 2))

    result = R2D2(ridge_lambda=ridge).run(how, params, {}, task)

    def with_ones(rows: Tensor) -> Tensor:
        return torch.cat([rows, torch.ones(len(rows), 1, dtype=rows.dtype)], 1)

    identity = torch.eye(6, dtype=torch.float64)
    system = torch.cat([with_ones(inputs) / examples**0.5, ridge**0.5 * identity])
    target = torch.cat([values / examples**0.5, torch.zeros(6, 2)])
    weights = torch.linalg.lstsq(system, target).solution
    close(result.outputs, 1.7 * with_ones(query) @ weights + 0.4)


def test_fomaml_is_the_query_gradient_at_the_adapted_weights():
    at = problem(METHODS["fomaml"], SCHEMES["fixed"], 2)
    task = at.task()
    passes = at.algorithm.passes(at.how, at.params, task)
    fast, _ = at.algorithm.adapt_and_pass(at.how, passes, {}, task)
    fast = {name: tensor.detach().requires_grad_() for name, tensor in fast.items()}
    logits = NETWORK.logits(fast, NETWORK.features(fast, task.query_inputs))
    loss = F.cross_entropy(logits, task.query_targets)

    gradient = torch.autograd.grad(at.outer_loss(), list(at.params.values()))

    close(flat(gradient), flat(torch.autograd.grad(loss, list(fast.values()))))
