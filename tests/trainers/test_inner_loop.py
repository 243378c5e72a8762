from dataclasses import dataclass

import pytest
import torch

from trainers.inner_loop import SupportPass, adapt, by_autograd, by_function_transform, masked
from trainers.rates import Fixed, Personalized, RateScheme, Update
from trainers.rates.base import descend
from trainers.types import ParamInfo

CURVATURE, MINIMUM = 3.0, 0.5
TARGETS = torch.tensor([0])


INFOS = [ParamInfo("w", (), "w", "linear", adapted=True)]


def quadratic(params, j=0):
    """Loss c/2 (w - m)^2, whose gradient is c (w - m)."""
    loss = CURVATURE / 2 * (params["w"] - MINIMUM) ** 2
    return SupportPass(loss, torch.zeros(1, 2, dtype=torch.float64), [])


def start() -> dict[str, torch.Tensor]:
    return {"w": torch.tensor(2.0, dtype=torch.float64, requires_grad=True)}


def run(scheme, meta=None, params=None, steps=2, second_order=True, training=True, **options):
    differentiate = options.pop("differentiate", by_autograd(second_order, training))
    params = params or start()
    support = options.pop("support", quadratic)
    return adapt(
        support,
        TARGETS,
        scheme,
        meta or {},
        INFOS,
        params,
        steps,
        differentiate=differentiate,
        **options,
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
    assert trace.grad_norms.tolist() == [pytest.approx([3 * 1.5]), pytest.approx([3 * 1.5 * 0.7])]


@pytest.mark.parametrize(("second_order", "derivative"), [(True, 0.49), (False, 1.0)])
def test_derivative_of_two_steps_by_hand(second_order, derivative):
    params = start()

    fast, _ = run(Fixed(0.1), params=params, second_order=second_order)

    assert torch.autograd.grad(fast["w"], params["w"])[0].item() == pytest.approx(derivative)


def test_no_steps_change_nothing():
    params = start()

    fast, trace = run(Fixed(), params=params, steps=0)

    assert fast["w"] is params["w"]
    assert all(tensor.shape == (0,) for tensor in trace)


def test_adapts_where_gradients_are_switched_off():
    with torch.no_grad():
        fast, trace = run(Fixed(0.1), training=False)

    assert fast["w"].item() == pytest.approx(0.5 + 1.5 * 0.49)
    assert not any(tensor.requires_grad for tensor in (fast["w"], *trace))


def test_trace_reports_the_branch_of_each_step():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(6, 4, dtype=torch.float64, generator=generator)
    targets = torch.tensor([0, 0, 1, 1, 2, 2])

    def support(params, j):
        logits = features @ params["w"]
        return SupportPass(torch.nn.functional.cross_entropy(logits, targets), logits, [])

    _, trace = adapt(
        support,
        targets,
        Personalized(lr_min=0.5, lr_max=0.9),
        meta={},
        infos=INFOS,
        params={"w": torch.zeros(4, 3, dtype=torch.float64)},
        steps=6,
        differentiate=by_autograd(second_order=False, training=False),
    )

    fitted = trace.losses <= 0.9
    assert fitted.any() and not fitted.all()
    assert trace.branches.tolist() == fitted.double().tolist()
    torch.testing.assert_close(trace.rates, torch.where(fitted, 0.9 - trace.losses, 0.5))


@dataclass(frozen=True)
class LearnedMomentum(RateScheme):
    """A rate learned for each step, and momentum: a scheme with meta-parameters and state."""

    momentum: float = 0.9

    def init(self, infos, steps, generator):
        return {"rates": torch.full((steps,), 0.1, dtype=torch.float64)}

    def prepare(self, meta, params, support_grads):
        return params, {f"velocity.{name}": torch.zeros_like(params[name]) for name in params}

    def step(self, meta, at, state):
        velocity = {
            name: self.momentum * state[f"velocity.{name}"] + grad
            for name, grad in at.grads.items()
        }
        rate = meta["rates"][min(at.j, len(meta["rates"]) - 1)]
        state = {f"velocity.{name}": value for name, value in velocity.items()}
        return Update(descend(at.params, velocity, rate), rate, state)


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


def test_steps_and_weights_are_told_of():
    told = []

    run(Fixed(0.1), after_step=lambda j, params, at: told.append((j, params["w"], at.loss)))

    assert [j for j, _, _ in told] == [0, 1]
    assert [weight.item() for _, weight, _ in told] == pytest.approx([1.55, 1.235])
    assert [loss.item() for _, _, loss in told] == pytest.approx([1.5 * 1.5**2, 1.5 * 1.05**2])


def test_the_pass_knows_its_step():
    def moving(params, j):
        """The minimum is at j."""
        loss = CURVATURE / 2 * (params["w"] - j) ** 2
        return SupportPass(loss, torch.zeros(1, 2), [])

    fast, _ = run(Fixed(0.1), support=moving, steps=3)

    first = 2.0 - 0.3 * 2.0
    second = first - 0.3 * (first - 1)
    assert fast["w"].item() == pytest.approx(second - 0.3 * (second - 2))


@pytest.mark.parametrize("second_order", [True, False])
def test_masks_multiply_gradients_and_learn(second_order):
    mask = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    params = start()

    fast, trace = run(
        Fixed(0.1),
        params=params,
        differentiate=masked(by_autograd(second_order, training=True), {"w": mask}),
    )
    of_start, of_mask = torch.autograd.grad(fast["w"], [params["w"], mask])

    # Each step leaves 1 - .1 * .5 * 3 = .85 of the distance 1.5; the norms are of masked gradients.
    assert fast["w"].item() == pytest.approx(0.5 + 1.5 * 0.85**2)
    assert trace.grad_norms[:, 0].tolist() == pytest.approx([0.5 * 4.5, 0.5 * 4.5 * 0.85])
    assert of_start.item() == pytest.approx(0.85**2 if second_order else 1)
    along_both = -2 * 0.3 * 0.85 * 1.5 if second_order else -0.1 * (4.5 + 4.5 * 0.85)
    assert of_mask.item() == pytest.approx(along_both)


@pytest.mark.parametrize(("second_order", "derivative"), [(True, 0.49), (False, 1.0)])
def test_tasks_at_once_are_tasks_one_by_one(second_order, derivative):
    starts = torch.tensor([2.0, -1.0, 0.5], dtype=torch.float64, requires_grad=True)

    def adapted(w):
        differentiate = by_function_transform(second_order)
        fast, trace = run(Fixed(0.1), params={"w": w}, differentiate=differentiate)
        return fast["w"], trace

    fast, trace = torch.func.vmap(adapted)(starts)
    (slopes,) = torch.autograd.grad(fast.sum(), starts)

    torch.testing.assert_close(fast.detach(), 0.5 + 0.49 * (starts.detach() - 0.5))
    assert slopes.tolist() == pytest.approx([derivative] * 3)
    assert trace.losses[1].tolist() == pytest.approx([1.5 * 1.5**2, 1.5 * 1.05**2])
    assert trace.losses.shape == trace.rates.shape == trace.branches.shape == (3, 2)
    assert trace.grad_norms.shape == (3, 2, 1)
