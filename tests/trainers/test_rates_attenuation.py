import math

import pytest
import torch

from episodes.errors import UsageError
from tests.trainers.tiny_network import (
    INFOS,
    adapt_quadratic,
    adapted,
    assert_batch_equals_loop,
    assert_derivatives,
    draw_meta,
    draw_params,
    draw_tasks,
    query_loss,
    support_gradients,
)
from trainers.rates import Fixed
from trainers.rates.alfa import Alfa
from trainers.rates.attenuation import Attenuated
from trainers.rates.pamela import Pamela


def scalar_layers(first: float, second: float):
    weights = {"attenuation/1.weight": [[first]], "attenuation/2.weight": [[second]]}
    biases = {"attenuation/1.bias": [0.0], "attenuation/2.bias": [0.0]}
    return {
        name: torch.tensor(value, dtype=torch.float64) for name, value in (weights | biases).items()
    }


@pytest.mark.parametrize(
    ("first", "gamma"), [(0.5, 1 / (1 + math.exp(-4.5))), (-0.5, 0.5)], ids=["on", "off"]
)
def test_two_steps_by_hand(first, gamma):
    # The gradient at 2 is 4.5; the hidden unit is .5 * 4.5, or 0 where the ReLU cuts it off.
    value, _ = adapt_quadratic(Attenuated(Fixed(0.1)), scalar_layers(first, 2.0), steps=2)

    assert value - 0.5 == pytest.approx((2 * gamma - 0.5) * 0.7**2, abs=1e-12)


def open_gates(meta):
    """The layers' numbers such that every gamma rounds to 1."""
    fixed = {"attenuation/2.weight": 0.0, "attenuation/2.bias": 50.0}
    return {
        name: torch.full_like(value, fixed[name]) if name in fixed else value
        for name, value in meta.items()
    }


@pytest.mark.parametrize("scheme", [Fixed(0.01), Alfa(), Pamela()], ids=lambda s: type(s).__name__)
def test_open_gates_leave_the_scheme_as_it_is(scheme):
    task, params = draw_tasks(dtype=torch.float32), draw_params(torch.float32)
    meta = Attenuated(scheme).init(INFOS, 3, torch.Generator().manual_seed(0))
    own = {name: value for name, value in meta.items() if not name.startswith("attenuation/")}

    ours, _ = adapted(Attenuated(scheme), open_gates(meta), params, task, 3)
    expected, _ = adapted(scheme, own, params, task, 3)

    for name in expected:
        assert torch.equal(ours[name], expected[name])


def embedding_of(params, task):
    grads = support_gradients(params, task)
    return torch.stack([grads[info.name].mean() for info in INFOS])


def attenuate(meta, params, embedding):
    hidden = (meta["attenuation/1.weight"] @ embedding + meta["attenuation/1.bias"]).clamp(min=0)
    gammas = 1 / (1 + (-(meta["attenuation/2.weight"] @ hidden + meta["attenuation/2.bias"])).exp())
    return {info.name: gammas[i] * params[info.name] for i, info in enumerate(INFOS)}


@pytest.mark.parametrize("second_order", [True, False])
@pytest.mark.parametrize("detach_embedding", [True, False])
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_loss_and_its_derivatives_against_the_written_out_form(
    steps, detach_embedding, second_order
):
    scheme = Attenuated(Fixed(0.3), detach_embedding)
    task, params, meta = draw_tasks(), draw_params(), draw_meta(scheme, steps)
    fast, _ = adapted(scheme, meta, params, task, steps, second_order=second_order)
    leaves = params | meta
    gradients = dict(
        zip(leaves, torch.autograd.grad(query_loss(fast, task), list(leaves.values())), strict=True)
    )
    base = embedding_of(params, task)

    def plain(tensors, frozen=None):
        theta = {info.name: tensors[info.name] for info in INFOS}
        constant = detach_embedding or not second_order
        theta = attenuate(tensors, theta, base if constant else embedding_of(theta, task))
        seen = []
        for j in range(steps):
            seen.append(support_gradients(theta, task))
            used = frozen[j] if frozen else seen[j]
            theta = {name: value - 0.3 * used[name] for name, value in theta.items()}
        return query_loss(theta, task), seen

    expected, seen = plain(leaves)
    assert query_loss(fast, task).item() == pytest.approx(expected.item(), abs=1e-12)
    frozen = None if second_order else seen
    assert_derivatives(lambda tensors: plain(tensors, frozen)[0], leaves, gradients)


def test_the_scheme_sees_attenuated_weights():
    scheme = Alfa(lr=0.3, weight_decay=0.5)
    task, params = draw_tasks(), draw_params()
    meta = draw_meta(Attenuated(scheme), 2)
    attenuated = attenuate(meta, params, embedding_of(params, task))

    ours, trace = adapted(Attenuated(scheme), meta, params, task, 2)
    expected, alone = adapted(scheme, meta, attenuated, task, 2)

    torch.testing.assert_close(trace.rates, alone.rates)
    for name in expected:
        torch.testing.assert_close(ours[name], expected[name], rtol=0, atol=1e-12)


def test_meta_parameters_and_what_is_trained():
    scheme = Attenuated(Alfa(random_init=True))
    meta = scheme.init(INFOS, 5, torch.Generator().manual_seed(0))
    shapes = {name: tuple(value.shape) for name, value in meta.items()}
    own = {name for name in meta if name.startswith("attenuation/")}

    assert {name: shapes[name] for name in own} == {
        "attenuation/1.weight": (8, 8),
        "attenuation/1.bias": (8,),
        "attenuation/2.weight": (8, 8),
        "attenuation/2.bias": (8,),
    }
    assert set(meta) - own == set(scheme.scheme.init(INFOS, 5, torch.Generator()))
    assert all(0.3 < meta[name].abs().max() <= 8**-0.5 for name in own)
    assert not scheme.trains(INFOS[0]) and Attenuated(Alfa()).trains(INFOS[0])


@pytest.mark.parametrize("detach_embedding", [True, False])
@pytest.mark.parametrize("scheme", [Fixed(0.3), Alfa(lr=0.3)], ids=lambda s: type(s).__name__)
def test_tasks_at_once_equal_one_by_one(scheme, detach_embedding):
    assert_batch_equals_loop(Attenuated(scheme, detach_embedding))


def test_attenuating_twice_is_refused():
    with pytest.raises(UsageError, match="attenuated already"):
        Attenuated(Attenuated(Fixed()))
