"""The outer optimiser by hand: schedules, and the rates that adapt along their hypergradients."""

from math import cos, pi, sqrt

import pytest
import torch
from torch import Tensor

from trainers.catalog import OUTER_SCHEDULES
from trainers.config import RunConfig, complete
from trainers.outer_optimizer import OuterOptimizer, scheduled_rate
from trainers.settings import Value

MACHINE = {"split": "quarters", "threads": 1}
ADAPTIVE = {"lr": "hypergradient", "hyper_lr": 0.01, "outer_hyper_lr": 0.001}


def configuration(**settings: Value) -> RunConfig:
    return complete({"algo": "maml", "lr": "fixed", **settings}, MACHINE)


def leaves(**values: list[float]) -> dict[str, Tensor]:
    return {
        name.replace("_", "/"): torch.tensor(value, dtype=torch.float64, requires_grad=True)
        for name, value in values.items()
    }


def set_gradients(tensors: dict[str, Tensor], *gradients: object) -> None:
    for tensor, gradient in zip(tensors.values(), gradients, strict=True):
        tensor.grad = torch.tensor(gradient, dtype=torch.float64)


def test_a_constant_rate_stays() -> None:
    config = configuration(outer_lr=0.3)
    assert {scheduled_rate(config, i) for i in (0, 10, 29_999)} == {0.3}


def test_a_linear_rate_falls_with_each_iteration() -> None:
    config = configuration(
        outer_lr=1.0, outer_schedule="linear", outer_lr_end=0.2, iterations=4, epoch=2
    )
    assert [scheduled_rate(config, i) for i in range(4)] == pytest.approx([1.0, 0.8, 0.6, 0.4])


def test_a_cosine_rate_falls_with_each_epoch() -> None:
    settings = {"outer_lr": 1.0, "outer_schedule": "cosine", "outer_lr_end": 0.2, "epoch": 2}
    expected = [0.2 + 0.4 * (1 + cos(pi * epoch / 3)) for epoch in (0, 0, 1, 1, 2)]

    # The last epoch is the third, whole or not.
    for iterations in (5, 6):
        config = configuration(**settings, iterations=iterations)
        assert [scheduled_rate(config, i) for i in range(5)] == pytest.approx(expected)


def test_a_cosine_rate_is_that_of_torch() -> None:
    config = configuration(
        outer_lr=1e-3, outer_schedule="cosine", outer_lr_end=1e-5, epoch=1, iterations=100
    )
    theirs = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1e-3)
    annealing = torch.optim.lr_scheduler.CosineAnnealingLR(theirs, T_max=100, eta_min=1e-5)
    for i in range(100):
        assert scheduled_rate(config, i) == pytest.approx(annealing.get_last_lr()[0], rel=1e-9)
        theirs.step()
        annealing.step()


@pytest.mark.parametrize("outer", ["adam", "sgd"])
@pytest.mark.parametrize("schedule", OUTER_SCHEDULES)
def test_steps_are_those_of_torch_at_the_scheduled_rate(outer: str, schedule: str) -> None:
    config = configuration(
        outer=outer, outer_schedule=schedule, outer_lr=0.1, epoch=1, iterations=3
    )
    tensors = leaves(params_w=[1.0, 2.0])
    reference = tensors["params/w"].detach().clone().requires_grad_()
    ours = OuterOptimizer(tensors, config)
    theirs = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[outer]([reference], lr=1.0)
    for i, gradient in enumerate(([1.0, -2.0], [0.5, 0.1], [-3.0, 0.0])):
        set_gradients(tensors, gradient)
        reference.grad = torch.tensor(gradient, dtype=torch.float64)
        theirs.param_groups[0]["lr"] = scheduled_rate(config, i)
        ours.step(i)
        theirs.step()
        assert torch.equal(tensors["params/w"], reference)
        assert ours.rate == scheduled_rate(config, i)


def test_hypergradient_descent_by_hand() -> None:
    config = configuration(**ADAPTIVE, outer="sgd", outer_lr=0.1)
    tensors = leaves(params_w=[1.0, 2.0], params_b=[0.5], meta_rate=[0.3])
    optimizer = OuterOptimizer(tensors, config)

    set_gradients(tensors, [1.0, -2.0], [3.0], [0.5])
    optimizer.step(0)
    assert optimizer.rate == 0.1
    assert tensors["params/w"].tolist() == pytest.approx([1 - 0.1 * 1, 2 + 0.1 * 2])
    assert tensors["params/b"].tolist() == pytest.approx([0.5 - 0.1 * 3])
    # Eq. 5: plain descent at the rate hyper_lr, outside the optimiser.
    assert tensors["meta/rate"].tolist() == pytest.approx([0.3 - 0.01 * 0.5])

    set_gradients(tensors, [2.0, 1.0], [4.0], [-1.0])
    optimizer.step(1)
    # Eq. 7: <G_2, G_1> = 1 * 2 - 2 * 1 + 3 * 4 = 12, over all weights.
    rate = 0.1 + 0.001 * 12
    assert optimizer.rate == pytest.approx(rate)
    assert tensors["params/w"].tolist() == pytest.approx([0.9 - rate * 2, 2.2 - rate * 1])
    assert tensors["params/b"].tolist() == pytest.approx([0.2 - rate * 4])
    assert tensors["meta/rate"].tolist() == pytest.approx([0.295 + 0.01 * 1])


def test_hypergradient_of_adam_by_hand() -> None:
    """Its direction is the bias-corrected m / (sqrt(v) + eps) of the last step."""
    config = configuration(**ADAPTIVE, outer="adam", outer_lr=0.1)
    tensors = leaves(params_w=[1.0, 2.0], meta_rate=[0.3])
    optimizer = OuterOptimizer(tensors, config)

    set_gradients(tensors, [4.0, -2.0], [0.5])
    optimizer.step(0)
    # The first direction is the gradient's sign.
    assert tensors["params/w"].tolist() == pytest.approx([1 - 0.1, 2 + 0.1])

    set_gradients(tensors, [2.0, 1.0], [0.5])
    optimizer.step(1)
    rate = 0.1 + 0.001 * (2 * 1 + 1 * -1)
    assert optimizer.rate == pytest.approx(rate)
    directions = []
    for first, second in ((4.0, 2.0), (-2.0, 1.0)):
        m = (0.9 * 0.1 * first + 0.1 * second) / (1 - 0.9**2)
        v = (0.999 * 0.001 * first**2 + 0.001 * second**2) / (1 - 0.999**2)
        directions.append(m / sqrt(v))
    assert tensors["params/w"].tolist() == pytest.approx(
        [0.9 - rate * directions[0], 2.1 - rate * directions[1]]
    )

    set_gradients(tensors, [1.0, -1.0], [0.5])
    optimizer.step(2)
    assert optimizer.rate == pytest.approx(rate + 0.001 * (directions[0] - directions[1]))


def test_other_meta_parameters_are_trained_as_the_weights_are() -> None:
    config = configuration(lr="lslr", outer="sgd", outer_lr=0.1)
    tensors = leaves(params_w=[1.0], meta_rate=[0.3])
    optimizer = OuterOptimizer(tensors, config)
    set_gradients(tensors, [1.0], [0.5])
    optimizer.step(0)
    assert tensors["meta/rate"].tolist() == pytest.approx([0.3 - 0.1 * 0.5])


@pytest.mark.parametrize("outer", ["adam", "sgd"])
@pytest.mark.parametrize("settings", [ADAPTIVE, {"outer_schedule": "linear"}], ids=["alpha", "lin"])
def test_what_is_saved_and_loaded_goes_on_bit_for_bit(
    outer: str, settings: dict[str, Value]
) -> None:
    config = configuration(**settings, outer=outer, outer_lr=0.1, iterations=6)
    generator = torch.Generator().manual_seed(0)
    gradients = torch.randn(6, 5, generator=generator, dtype=torch.float64)

    def run(tensors: dict[str, Tensor], optimizer: OuterOptimizer, first: int, last: int) -> None:
        for i in range(first, last):
            row = gradients[i]
            tensors["params/w"].grad, tensors["params/b"].grad = row[:3].clone(), row[3].clone()
            tensors["meta/rate"].grad = row[4].clone()
            optimizer.step(i)

    start = {"params_w": [1.0, 2.0, 3.0], "params_b": 0.5, "meta_rate": 0.3}
    whole = leaves(**start)
    optimizer = OuterOptimizer(whole, config)
    run(whole, optimizer, 0, 3)
    saved = {name: tensor.clone() for name, tensor in optimizer.state().items()}
    halfway = {name: tensor.detach().clone() for name, tensor in whole.items()}
    run(whole, optimizer, 3, 6)

    resumed = {name: tensor.requires_grad_() for name, tensor in halfway.items()}
    again = OuterOptimizer(resumed, config)
    again.load(saved)
    run(resumed, again, 3, 6)

    assert again.rate == optimizer.rate
    for name, tensor in whole.items():
        assert torch.equal(resumed[name], tensor)
    expected = optimizer.state()
    assert again.state().keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in again.state().items())
    if "hyper_lr" in settings:
        assert "outer/rate" in saved and "outer/params/w/previous" in saved


def test_a_tensor_without_a_gradient_stays() -> None:
    config = configuration(**ADAPTIVE, outer="adam", outer_lr=0.1)
    tensors = leaves(params_w=[1.0], params_unused=[2.0], meta_rate=[0.3])
    optimizer = OuterOptimizer(tensors, config)
    for i in range(2):
        tensors["params/w"].grad = torch.ones(1, dtype=torch.float64)
        optimizer.step(i)
    assert optimizer.rate == pytest.approx(0.1 + 0.001)
    assert tensors["params/unused"].tolist() == [2.0] and tensors["meta/rate"].tolist() == [0.3]


def test_only_the_inner_rate_follows_its_own_hypergradient() -> None:
    tensors = leaves(params_w=[1.0], meta_rate=[0.5], meta_attenuation=[0.25])
    optimizer = OuterOptimizer(tensors, configuration(**ADAPTIVE, outer="sgd", outer_lr=0.1))
    set_gradients(tensors, [2.0], [3.0], [4.0])
    optimizer.step(0)
    assert tensors["params/w"].item() == pytest.approx(1.0 - 0.1 * 2.0)
    assert tensors["meta/rate"].item() == pytest.approx(0.5 - 0.01 * 3.0)
    assert tensors["meta/attenuation"].item() == pytest.approx(0.25 - 0.1 * 4.0)
