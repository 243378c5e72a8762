from dataclasses import dataclass

import pytest
import torch

from trainers.inner_loop import adapt
from trainers.rates import Fixed, Personalized, RateScheme
from trainers.rates.base import descend

CURVATURE, MINIMUM = 3.0, 0.5
TARGETS = torch.tensor([0])


def quadratic(params):
    """Loss c/2 (w - m)^2, whose gradient is c (w - m)."""
    loss = CURVATURE / 2 * (params["w"] - MINIMUM) ** 2
    return loss, torch.zeros(1, 2, dtype=torch.float64)


def start() -> dict[str, torch.Tensor]:
    return {"w": torch.tensor(2.0, dtype=torch.float64, requires_grad=True)}


def run(scheme, meta=None, params=None, steps=2, second_order=True, training=True):
    return adapt(
        quadratic,
        TARGETS,
        scheme,
        meta or {},
        params or start(),
        steps,
        second_order=second_order,
        training=training,
    )


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("second_order", [True, False])
def test_two_steps_by_hand(second_order, training):
    # Each step of rate .1 leaves 1 - .1 * 3 = .7 of the distance 1.5 to the minimum.
    params, trace = run(Fixed(0.1), second_order=second_order, training=training)

    assert params["w"].item() == pytest.approx(0.5 + 1.5 * 0.49)
    assert trace.losses.tolist() == pytest.approx([1.5 * 1.5**2, 1.5 * (1.5 * 0.7) ** 2])
    assert trace.rates.tolist() == [0.1, 0.1]
    assert trace.branches.isnan().all() and trace.branches.shape == (2,)


@pytest.mark.parametrize(("second_order", "derivative"), [(True, 0.49), (False, 1.0)])
def test_derivative_of_two_steps_by_hand(second_order, derivative):
    params = start()

    fast, _ = run(Fixed(0.1), params=params, second_order=second_order)

    assert torch.autograd.grad(fast["w"], params["w"])[0].item() == pytest.approx(derivative)


def test_no_steps_change_nothing():
    params = start()

    fast, trace = run(Fixed(), params=params, steps=0)

    assert fast["w"] is params["w"]
    assert trace.losses.shape == trace.rates.shape == trace.branches.shape == (0,)


def test_no_graph_outside_training():
    fast, trace = run(Fixed(), training=False)

    assert not fast["w"].requires_grad
    assert not trace.rates.requires_grad


def test_adapts_where_gradients_are_switched_off():
    with torch.no_grad():
        fast, _ = run(Fixed(0.1), training=False)

    assert fast["w"].item() == pytest.approx(0.5 + 1.5 * 0.49)


def test_trace_reports_the_branch_of_each_step():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(6, 4, dtype=torch.float64, generator=generator)
    targets = torch.tensor([0, 0, 1, 1, 2, 2])

    def support_loss(params):
        logits = features @ params["w"]
        return torch.nn.functional.cross_entropy(logits, targets), logits

    _, trace = adapt(
        support_loss,
        targets,
        Personalized(lr_min=0.5, lr_max=0.9),
        meta={},
        params={"w": torch.zeros(4, 3, dtype=torch.float64)},
        steps=6,
        second_order=False,
        training=False,
    )

    fitted = trace.losses <= 0.9
    assert fitted.any() and not fitted.all()
    assert trace.branches.tolist() == fitted.double().tolist()
    torch.testing.assert_close(trace.rates, torch.where(fitted, 0.9 - trace.losses, 0.5))


@dataclass(frozen=True)
class LearnedMomentum(RateScheme):
    """A rate learned for each step, and momentum: a scheme with meta-parameters and state."""

    momentum: float = 0.9

    def init(self, param_infos, steps):
        return {"rates": torch.full((steps,), 0.1, dtype=torch.float64)}

    def prepare(self, meta, params, support_grads):
        return params, {f"velocity.{name}": torch.zeros_like(params[name]) for name in params}

    def step(self, meta, j, params, grads, loss, logits, targets, state):
        velocity = {
            name: self.momentum * state[f"velocity.{name}"] + grad for name, grad in grads.items()
        }
        rate = meta["rates"][min(j, len(meta["rates"]) - 1)]
        state = {f"velocity.{name}": value for name, value in velocity.items()}
        return descend(params, velocity, rate), state | {"rate": rate}


def momentum_by_hand(first_rate, second_rate):
    first = 2.0 - first_rate * 4.5
    return first - second_rate * (0.9 * 4.5 + 3 * (first - 0.5))


@pytest.mark.parametrize("second_order", [True, False])
def test_state_and_learned_rates_of_a_scheme(second_order):
    scheme = LearnedMomentum()
    meta = {"rates": torch.tensor([0.1, 0.2], dtype=torch.float64, requires_grad=True)}

    fast, trace = run(scheme, meta, second_order=second_order)
    (gradient,) = torch.autograd.grad(fast["w"], meta["rates"])

    # In first order the second gradient, 3 * (w1 - .5), is a constant of the first rate.
    through_second_step = 0.2 * 3 * 4.5 if second_order else 0.0
    assert fast["w"].item() == pytest.approx(momentum_by_hand(0.1, 0.2))
    assert trace.rates.tolist() == [0.1, 0.2]
    assert gradient.tolist() == pytest.approx(
        [-4.5 + through_second_step, -(0.9 * 4.5 + 3 * (1.55 - 0.5))]
    )


def test_a_scheme_may_take_more_steps_than_it_was_trained_for():
    meta = {"rates": torch.tensor([0.1, 0.2], dtype=torch.float64)}

    _, trace = run(LearnedMomentum(), meta, steps=4, training=False)

    assert trace.rates.tolist() == [0.1, 0.2, 0.2, 0.2]


@dataclass(frozen=True)
class Attenuated(Fixed):
    """Shrinks the weights by their support gradient before the first step."""

    def prepare(self, meta, params, support_grads):
        grads = support_grads()
        return {name: param * grads[name] for name, param in params.items()}, {}


@pytest.mark.parametrize("training", [True, False])
def test_prepare_sees_the_support_gradient_of_the_initial_weights(training):
    fast, _ = run(Attenuated(0.1), steps=0, training=training)

    assert fast["w"].item() == pytest.approx(2.0 * 4.5)
