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
    query_loss,
)
from trainers.rates import Fixed
from trainers.rates.lslr import LSLR


def start(scheme, steps=5):
    return scheme.init(INFOS, steps, torch.Generator())


def test_two_steps_by_hand():
    meta = {"rate/w.weight": torch.tensor([0.1, 0.2], dtype=torch.float64)}

    value, trace = adapt_quadratic(LSLR(), meta, steps=2)

    # A step of rate r leaves 1 - 3 r of the distance 1.5 to the minimum.
    assert value == pytest.approx(0.5 + 1.5 * 0.7 * 0.4)
    assert trace.rates.tolist() == [[0.1], [0.2]]


def test_steps_beyond_the_trained_ones_reuse_the_last_rate():
    meta = {"rate/w.weight": torch.tensor([0.1, 0.2], dtype=torch.float64)}

    value, trace = adapt_quadratic(LSLR(), meta, steps=4)

    assert value == pytest.approx(0.5 + 1.5 * 0.7 * 0.4**3)
    assert trace.rates.flatten().tolist() == [0.1, 0.2, 0.2, 0.2]


def test_one_rate_for_each_tensor_and_step():
    meta = start(LSLR(0.25), steps=7)

    assert list(meta) == [f"rate/{info.name}" for info in INFOS]
    for rates in meta.values():
        assert rates.dtype == torch.float32
        assert rates.tolist() == [0.25] * 7


def test_rates_of_the_tensors_are_apart():
    meta = start(LSLR())
    meta["rate/head.bias"].fill_(0.5)

    assert meta["rate/head.weight"].tolist() == pytest.approx([0.01] * 5)


def test_reported_rates_are_in_the_order_of_the_tensors():
    meta = {
        name: torch.tensor([0.01 * number, 0.02 * number], dtype=torch.float64)
        for number, name in enumerate(start(LSLR()), start=1)
    }

    _, trace = adapted(LSLR(), meta, draw_params(), draw_tasks(), 2)

    expected = torch.tensor([0.01, 0.02], dtype=torch.float64).outer(torch.arange(1, 9).double())
    torch.testing.assert_close(trace.rates, expected)


def test_equal_entries_equal_fixed():
    assert_same_steps(LSLR(0.1), Fixed(0.1))


@pytest.mark.parametrize("second_order", [True, False])
def test_outer_gradient(second_order):
    assert_outer_gradient(LSLR(0.1), steps=2, second_order=second_order)


def test_outer_gradient_reaches_every_entry():
    meta, task = draw_meta(LSLR(0.1), steps=3), draw_tasks()
    fast, _ = adapted(LSLR(), meta, draw_params(), task, 3)

    gradients = torch.autograd.grad(query_loss(fast, task), list(meta.values()))

    for name, gradient in zip(meta, gradients, strict=True):
        if name == "rate/conv.bias":  # Batch normalisation removes it, so that it never moves.
            assert gradient.abs().max() < 1e-12
        else:
            assert gradient.abs().min() > 1e-7


def test_batched_equals_looped():
    assert_batch_equals_loop(LSLR(0.1))


@pytest.mark.parametrize("lr", [-0.1, float("nan"), float("inf")])
def test_unusable_rates_are_refused(lr):
    with pytest.raises(UsageError, match=f"lslr rate: lr is {lr}"):
        LSLR(lr)
