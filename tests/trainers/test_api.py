"""MetaLearner and adapt on a user's own model: against plain autograd, and what is refused."""

import pytest
import torch
from torch import nn
from torch.func import functional_call

from episodes.errors import UsageError
from trainers import (
    ANIL,
    BOIL,
    IMAML,
    MAML,
    R2D2,
    MetaLearner,
    ProtoNet,
    Reptile,
    Task,
    TNet,
    adapt,
    rates,
)


@pytest.fixture
def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()


def points(seed: int, count: int = 6, batch: tuple[int, ...] = ()) -> tuple:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(*batch, count, 3, generator=generator, dtype=torch.float64)
    return inputs, torch.randint(2, (*batch, count), generator=generator)


def test_adapt_is_gradient_descent_and_leaves_the_model_alone(model: nn.Sequential) -> None:
    inputs, labels = points(1)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    weights = {name: tensor.detach().clone() for name, tensor in model.named_parameters()}
    for _ in range(3):
        leaves = {name: tensor.requires_grad_() for name, tensor in weights.items()}
        loss = nn.functional.cross_entropy(functional_call(model, leaves, (inputs,)), labels)
        grads = torch.autograd.grad(loss, list(leaves.values()))
        weights = {
            n: (t - 0.2 * g).detach() for (n, t), g in zip(leaves.items(), grads, strict=True)
        }

    adapted = adapt(model, inputs, labels, rates.Fixed(0.2), steps=3)

    assert adapted.keys() == weights.keys()
    for name, tensor in weights.items():
        torch.testing.assert_close(adapted[name], tensor)
        assert torch.equal(model.state_dict()[name], before[name])


@pytest.mark.parametrize(
    ("algorithm", "moved"), [(ANIL(), {"2.weight", "2.bias"}), (BOIL(), {"0.weight", "0.bias"})]
)
def test_the_algorithm_says_what_adapts(algorithm, moved: set, model: nn.Sequential) -> None:
    adapted = adapt(model, *points(1), rates.Fixed(0.2), algorithm=algorithm)
    start = dict(model.named_parameters())
    assert {name for name in adapted if not torch.equal(adapted[name], start[name])} == moved


def test_imaml_stays_nearer_to_the_start_than_maml(model: nn.Sequential) -> None:
    def distance(algorithm) -> float:
        adapted = adapt(model, *points(1), rates.Fixed(0.2), algorithm=algorithm, steps=20)
        start = dict(model.named_parameters())
        return sum((adapted[name] - tensor).square().sum().item() for name, tensor in start.items())

    assert distance(IMAML(proximity=2.0)) < 0.5 * distance(MAML())


def test_floating_point_targets_mean_the_squared_error(model: nn.Sequential) -> None:
    inputs, _ = points(1)
    targets = torch.ones(6, 2, dtype=torch.float64)
    adapted = adapt(model, inputs, targets, rates.Fixed(0.1), steps=50)
    error = (functional_call(model, adapted, (inputs,)) - targets).square().mean()
    assert error < 0.2 * (model(inputs) - targets).square().mean()


@pytest.mark.parametrize("bn", ["batch", "support", "per-step"])
def test_batched_results_and_gradients_are_the_looped_ones(bn: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 2)).double()
    tasks = Task(*points(1, batch=(3,)), *points(2, batch=(3,)))
    gradients = []
    for batched in (True, False):
        learner = MetaLearner(model, rates.Fixed(0.1), MAML(adapt_bn=False), steps=2, bn=bn)
        learner(tasks, batched=batched).outer_loss.mean().backward()
        gradients.append([tensor.grad for tensor in learner.parameters()])
    for one, other in zip(*gradients, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_with_batch_norm_of_each_step_every_channel_of_every_step_learns() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 2)).double()
    learner = MetaLearner(model, rates.Fixed(0.1), MAML(adapt_bn=False), steps=3, bn="per-step")
    learner(Task(*points(1, batch=(2,)), *points(2, batch=(2,)))).outer_loss.mean().backward()
    scale = learner.params["1.weight"]
    assert scale.shape == (3, 4)
    assert (scale.grad != 0).all()


def test_reptile_moves_the_start_towards_the_adapted_weights(model: nn.Sequential) -> None:
    learner = MetaLearner(model, rates.Fixed(0.1), Reptile(), steps=4)
    support = points(1)
    learner(Task(*(t[None] for t in (*support, *points(2))))).outer_loss.mean().backward()
    adapted = learner.adapt(*support)
    for name, tensor in model.named_parameters():
        torch.testing.assert_close(learner.params[name].grad, tensor.detach() - adapted[name])


@pytest.mark.parametrize("algorithm", [ProtoNet(), R2D2(), TNet(masked=True)])
def test_what_does_not_adapt_by_gradient_alone_is_refused(algorithm, model: nn.Sequential) -> None:
    with pytest.raises(UsageError, match="use `trainers run`"):
        adapt(model, *points(1), rates.Fixed(0.1), algorithm=algorithm)
