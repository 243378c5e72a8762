import pytest
import torch

from episodes.errors import UsageError
from tests.trainers.rate_problems import assert_outer_gradient, assert_same_steps
from tests.trainers.tiny_network import (
    INFOS,
    adapt_quadratic,
    adapted,
    assert_batch_equals_loop,
    draw_meta,
    draw_params,
    draw_tasks,
    support_gradients,
)
from trainers.backbones import Conv4
from trainers.rates import Fixed
from trainers.rates.meta_sgd import MetaSGD


def start(scheme, seed=0):
    return scheme.init(INFOS, 5, torch.Generator().manual_seed(seed))


def test_two_steps_by_hand():
    meta = {"rate/w.weight": torch.tensor([[0.1]], dtype=torch.float64)}

    value, trace = adapt_quadratic(MetaSGD(), meta, steps=2)

    # Each step of rate .1 leaves 1 - .1 * 3 = .7 of the distance 1.5 to the minimum.
    assert value == pytest.approx(0.5 + 1.5 * 0.49)
    assert trace.rates.tolist() == [[0.1], [0.1]]


def test_each_weight_has_its_own_rate():
    task, params, meta = draw_tasks(), draw_params(), draw_meta(MetaSGD(0.1), steps=1)
    grads = support_gradients(params, task)

    fast, trace = adapted(MetaSGD(), meta, params, task, 1)

    for name, param in params.items():
        torch.testing.assert_close(fast[name], param - meta[f"rate/{name}"] * grads[name])
    assert any((rate < 0).any() for rate in meta.values())
    means = [rate.mean().item() for rate in meta.values()]
    assert trace.rates[0].tolist() == pytest.approx(means)


def test_as_many_rates_as_weights():
    rates = start(MetaSGD(0.25))

    assert list(rates) == [f"rate/{info.name}" for info in INFOS]
    for info, rate in zip(INFOS, rates.values(), strict=True):
        assert rate.shape == info.shape and rate.dtype == torch.float32
        assert (rate == 0.25).all()
    assert sum(rate.numel() for rate in rates.values()) == 18 + 2 + 2 + 2 + 16 + 2 + 2 + 1


def test_doubles_the_parameters_of_conv4():
    infos = Conv4(way=5, in_channels=3, image_size=84).param_infos(lambda role: True)
    rates = MetaSGD().init(infos, 5, torch.Generator())

    # PAMELA's table counts 242.18 thousand in all.
    assert 121_093 + sum(rate.numel() for rate in rates.values()) == 242_186


def test_uniform_start():
    scheme = MetaSGD(start="uniform", lr_low=0.02, lr_high=0.06)
    values = torch.cat([rate.flatten() for rate in start(scheme).values()])

    assert values.min() >= 0.02 and values.max() <= 0.06
    assert len(values.unique()) > 40
    # The mean of 45 uniform draws has a standard deviation of .04 / sqrt(12 * 45) = .0017.
    assert values.mean().item() == pytest.approx(0.04, abs=0.007)


def test_uniform_start_is_drawn_from_the_generator():
    scheme = MetaSGD(start="uniform")
    one, same, other = start(scheme), start(scheme), start(scheme, seed=1)

    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not any(torch.equal(one[name], other[name]) for name in one)


def test_constant_start_equals_fixed():
    assert_same_steps(MetaSGD(0.1), Fixed(0.1))


@pytest.mark.parametrize("second_order", [True, False])
def test_outer_gradient(second_order):
    assert_outer_gradient(MetaSGD(0.1), steps=2, second_order=second_order)


def test_batched_equals_looped():
    assert_batch_equals_loop(MetaSGD(0.1))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": -0.1}, "meta-sgd rate: lr is -0.1"),
        ({"lr_low": float("nan")}, "meta-sgd rate: lr_low is nan"),
        ({"lr_high": float("inf")}, "meta-sgd rate: lr_high is inf"),
        ({"lr_low": 0.2}, "lr_low is 0.2 and lr_high is 0.1"),
        ({"start": "uniforms"}, "did you mean 'uniform'"),
    ],
)
def test_unusable_settings_are_refused(settings, message):
    with pytest.raises(UsageError, match=message):
        MetaSGD(**settings)
