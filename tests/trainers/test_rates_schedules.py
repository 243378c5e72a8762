from math import cos, pi

import pytest
import torch

from episodes.errors import UsageError
from tests.trainers.rate_problems import assert_outer_gradient, assert_same_steps
from tests.trainers.tiny_network import INFOS, adapt_quadratic, assert_batch_equals_loop
from trainers.rates import Fixed
from trainers.rates.base import InnerStep
from trainers.rates.schedules import Cosine, Linear, Step
from trainers.types import ParamInfo

SCHEDULES = [Linear(0.3, 0.1), Step(0.3, 0.5, 1), Cosine(0.3, 0.1)]


def rates(scheme, steps):
    """The rates reported for each step of a loop of that many."""
    info, one = ParamInfo("w", (), "w", "linear", True), torch.ones((), dtype=torch.float64)
    ats = (InnerStep(j, steps, [info], {"w": one}, {"w": one}, one, one, one) for j in range(steps))
    return [scheme.step({}, at, {}).rates.item() for at in ats]


@pytest.mark.parametrize(
    ("scheme", "expected"),
    [
        (Linear(0.5), [0.5, 0.4, 0.3, 0.2, 0.1]),
        (Linear(0.6, 0.1), [0.6, 0.5, 0.4, 0.3, 0.2]),
        (Step(0.4, 0.5, 2), [0.4, 0.4, 0.2, 0.2, 0.1]),
        (Step(0.4, 1.0, 2), [0.4] * 5),
        # cos 36 = (1 + sqrt 5)/4 and cos 72 = (sqrt 5 - 1)/4.
        (
            Cosine(1.0),
            [1.0]
            + [(1 + (1 + 5**0.5) / 4) / 2, (1 + (5**0.5 - 1) / 4) / 2]
            + [(1 - (5**0.5 - 1) / 4) / 2, (1 - (1 + 5**0.5) / 4) / 2],
        ),
        (Cosine(0.3, 0.1), [0.1 + 0.1 * (1 + cos(pi * j / 5)) for j in range(5)]),
    ],
)
def test_rates_of_five_steps(scheme, expected):
    assert rates(scheme, 5) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("scheme", [Linear(), Step(), Cosine()])
@pytest.mark.parametrize("steps", [1, 2, 5, 10])
def test_starts_at_lr_falls_and_never_reaches_zero(scheme, steps):
    values = rates(scheme, steps)

    assert values[0] == scheme.lr
    assert values == sorted(values, reverse=True)
    assert values[-1] > 0


@pytest.mark.parametrize("scheme", [Linear(0.3, 0.1), Cosine(0.3, 0.1)])
def test_more_steps_stretch_the_schedule(scheme):
    assert rates(scheme, 10)[::2] == pytest.approx(rates(scheme, 5), abs=1e-15)


@pytest.mark.parametrize(
    ("scheme", "second_rate"), [(Linear(0.1), 0.05), (Step(0.1, 0.3, 1), 0.03), (Cosine(0.1), 0.05)]
)
def test_two_steps_by_hand(scheme, second_rate):
    # A step of rate r leaves 1 - 3 r of the distance 1.5 to the minimum.
    value, trace = adapt_quadratic(scheme, {}, steps=2)

    assert value == pytest.approx(0.5 + 1.5 * 0.7 * (1 - 3 * second_rate))
    assert trace.rates.tolist() == pytest.approx([0.1, second_rate])
    assert trace.branches.isnan().all()


@pytest.mark.parametrize("scheme", [Linear(0.1, 0.1), Step(0.1, factor=1.0), Cosine(0.1, 0.1)])
def test_flat_schedule_equals_fixed(scheme):
    assert_same_steps(scheme, Fixed(0.1))


@pytest.mark.parametrize("scheme", SCHEDULES)
def test_outer_gradient(scheme):
    assert_outer_gradient(scheme, steps=2)


@pytest.mark.parametrize("scheme", SCHEDULES)
def test_batched_equals_looped(scheme):
    assert_batch_equals_loop(scheme)


@pytest.mark.parametrize("scheme", SCHEDULES)
def test_nothing_is_learned(scheme):
    assert scheme.init(INFOS, 5, torch.Generator()) == {}


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Linear(lr=-0.1), "linear rate: lr is -0.1"),
        (lambda: Linear(lr_min=float("nan")), "linear rate: lr_min is nan"),
        (lambda: Linear(lr=0.1, lr_min=0.2), "linear rate: lr_min is 0.2 and lr is 0.1"),
        (lambda: Cosine(lr=float("inf")), "cosine rate: lr is inf"),
        (lambda: Cosine(lr=0.1, lr_min=0.2), "cosine rate: lr_min is 0.2 and lr is 0.1"),
        (lambda: Step(lr=-1.0), "step rate: lr is -1.0"),
        (lambda: Step(factor=0.0), "step rate: factor is 0.0"),
        (lambda: Step(factor=1.5), "step rate: factor is 1.5"),
        (lambda: Step(factor=float("nan")), "step rate: factor is nan"),
        (lambda: Step(every=0), "step rate: every is 0"),
    ],
)
def test_unusable_settings_are_refused(build, message):
    with pytest.raises(UsageError, match=message):
        build()
