from math import exp, log

import pytest
import torch
import torch.nn.functional as F

from episodes.errors import UsageError
from tests.trainers.rate_problems import assert_outer_gradient
from tests.trainers.tiny_network import (
    INFOS,
    adapt_quadratic,
    adapted,
    assert_batch_equals_loop,
    draw_meta,
    draw_params,
    draw_tasks,
    predict,
    query_loss,
    support_gradients,
)
from trainers.rates import Fixed
from trainers.rates.lstm import MetaLSTM, preprocess

UNITS = 3
SCHEME = MetaLSTM(hidden=UNITS)


# Large enough for every path through both LSTMs to matter.
NOISE = 0.5


def gates_only(keep, rate, **weights):
    """Meta-parameters whose first LSTM says nothing: gates of bias, cell and last gate alone."""
    zeros = {
        name: torch.zeros_like(start, dtype=torch.float64)
        for name, start in SCHEME.init([], 1, torch.Generator()).items()
    }
    for name, probability in (("forget/bias", keep), ("input/bias", rate)):
        zeros[name] = torch.tensor(log(probability / (1 - probability)), dtype=torch.float64)
    for name, (of_cell, of_gate) in weights.items():
        zeros[f"{name}/weight"][-2:] = torch.tensor([of_cell, of_gate], dtype=torch.float64)
    return zeros


def sigmoid(x):
    return 1 / (1 + exp(-x))


def test_two_steps_by_hand():
    value, trace = adapt_quadratic(SCHEME, gates_only(0.9, 0.1), steps=2)

    # w1 = .9 * 2 - .1 * 3 * 1.5 = 1.35, w2 = .9 * w1 - .1 * 3 * (w1 - .5)
    assert value == pytest.approx(0.9 * 1.35 - 0.3 * 0.85)
    assert trace.rates.flatten().tolist() == pytest.approx([0.1, 0.1])


def test_gates_see_the_cell_and_their_last_value_before_the_sigmoid():
    meta = gates_only(0.9, 0.1, forget=(0.3, 0.7), input=(-0.2, 0.4))

    value, trace = adapt_quadratic(SCHEME, meta, steps=2)

    f1, i1 = log(9) + 0.3 * 2, -log(9) - 0.2 * 2
    w1 = sigmoid(f1) * 2 - sigmoid(i1) * 4.5
    f2, i2 = log(9) + 0.3 * w1 + 0.7 * f1, -log(9) - 0.2 * w1 + 0.4 * i1
    assert value == pytest.approx(sigmoid(f2) * w1 - sigmoid(i2) * 3 * (w1 - 0.5))
    assert trace.rates.flatten().tolist() == pytest.approx([sigmoid(i1), sigmoid(i2)])


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        (1.0, (0.0, 1.0)),
        (-exp(3), (0.3, -1.0)),
        (exp(-5), (-0.5, 1.0)),
        (exp(-10), (-1.0, 1.0)),
        (exp(-11), (-1.0, exp(-1))),
        (-exp(-12), (-1.0, -exp(-2))),
        (0.0, (-1.0, 0.0)),
    ],
)
def test_preprocessing_by_hand(x, expected):
    assert preprocess(torch.tensor(x, dtype=torch.float64), 10.0).tolist() == pytest.approx(
        expected
    )


def test_steps_equal_those_of_torch_cells_coordinate_by_coordinate():
    meta, task, cells = draw_meta(SCHEME, 2, NOISE), draw_tasks(), draw_params()
    fast, trace = adapted(SCHEME, meta, cells, task, 2)

    layers = {name: torch.nn.Linear(UNITS + 2, 1).double() for name in ("forget", "input")}
    for name, layer in layers.items():
        layer.weight.data, layer.bias.data = (
            meta[f"{name}/weight"][None],
            meta[f"{name}/bias"][None],
        )
    first = torch.nn.LSTMCell(4, UNITS).double()
    first.weight_ih.data, first.weight_hh.data = meta["lstm/weight"].split([4, UNITS], dim=1)
    first.bias_ih.data, first.bias_hh.data = meta["lstm/bias"], 0 * meta["lstm/bias"]

    def processed(x):
        return [log(abs(x)) / 10, x / abs(x)] if abs(x) >= exp(-10) else [-1, exp(10) * x]

    with torch.no_grad():
        memory, gates = {}, {}
        for _ in range(2):
            with torch.enable_grad():
                grads = support_gradients(cells, task)
            loss = F.mse_loss(predict(cells, task.support_inputs), task.support_targets).item()
            moved = {name: torch.empty_like(cell) for name, cell in cells.items()}
            for name, cell in cells.items():
                for at in range(cell.numel()):
                    c, g = cell.flatten()[at], grads[name].flatten()[at]
                    seen = torch.tensor([processed(loss) + processed(g.item())]).double()
                    memory[name, at] = h, _ = first(seen, memory.get((name, at)))
                    last = gates.get((name, at), dict.fromkeys(layers, torch.zeros(1).double()))
                    gates[name, at] = now = {
                        gate: layer(torch.cat([h[0], c[None], last[gate]]))
                        for gate, layer in layers.items()
                    }
                    value = now["forget"].sigmoid() * c - now["input"].sigmoid() * g
                    moved[name].view(-1)[at] = value.item()
            cells = moved

    for number, (name, cell) in enumerate(cells.items()):
        torch.testing.assert_close(fast[name], cell, rtol=1e-10, atol=1e-10)
        rates = [gates[name, at]["input"].sigmoid().item() for at in range(cell.numel())]
        assert trace.rates[1, number].item() == pytest.approx(sum(rates) / len(rates))


def test_shapes_and_start():
    meta = MetaLSTM().init(INFOS, 5, torch.Generator().manual_seed(0))

    assert {name: tuple(start.shape) for name, start in meta.items()} == {
        "lstm/weight": (80, 24),
        "lstm/bias": (80,),
        "forget/weight": (22,),
        "forget/bias": (),
        "input/weight": (22,),
        "input/bias": (),
    }
    assert 4 <= meta.pop("forget/bias") <= 5
    assert -5 <= meta.pop("input/bias") <= -4
    for start in meta.values():
        assert start.dtype == torch.float32
        assert start.abs().max() <= 0.01
        assert start.min() < 0 < start.max()


def test_start_is_drawn_from_the_generator():
    one, same, other = (
        SCHEME.init([], 1, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )

    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not any(torch.equal(one[name], other[name]) for name in one)


def test_open_forget_gate_and_constant_input_gate_equal_fixed():
    task, params = draw_tasks(), draw_params()
    meta = gates_only(0.5, 0.1) | {"forget/bias": torch.tensor(100.0, dtype=torch.float64)}

    ours, _ = adapted(SCHEME, meta, params, task, 3)
    fixed, _ = adapted(Fixed(0.1), {}, params, task, 3)

    for name, value in fixed.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("second_order", [True, False])
@pytest.mark.parametrize("steps", [2, 5])
def test_outer_gradient_with_losses_and_gradients_held(second_order, steps):
    assert_outer_gradient(
        SCHEME, steps, second_order=second_order, stops_gradients=True, noise=NOISE
    )


def test_order_makes_no_difference():
    meta, task, params = draw_meta(SCHEME, 2, NOISE), draw_tasks(), draw_params()
    gradients = []
    for second_order in (True, False):
        fast, _ = adapted(SCHEME, meta, params, task, 2, second_order=second_order)
        gradients.append(torch.autograd.grad(query_loss(fast, task), list(params.values())))

    for one, other in zip(*gradients, strict=True):
        assert torch.equal(one, other)


def test_batched_equals_looped():
    assert_batch_equals_loop(SCHEME)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden": 0}, "lstm rate: hidden is 0"),
        ({"p": 0.0}, "lstm rate: p is 0.0"),
        ({"p": float("inf")}, "lstm rate: p is inf"),
    ],
)
def test_unusable_settings_are_refused(settings, message):
    with pytest.raises(UsageError, match=message):
        MetaLSTM(**settings)
