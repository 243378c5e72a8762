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
from trainers.backbones import Conv4
from trainers.rates import Fixed
from trainers.rates.base import InnerStep
from trainers.rates.pamela import Pamela
from trainers.types import ParamInfo


def quadratic_meta(skips, rate=0.1, steps=5):
    rates = torch.full((steps, 1, 1), rate, dtype=torch.float64)
    return {"rate/w.weight": rates, "skip/w": torch.tensor(skips, dtype=torch.float64)}


def test_two_preconditioned_steps_by_hand():
    meta = {"rate/w.weight": torch.tensor([[[0.1]], [[0.2]]], dtype=torch.float64)}

    value, trace = adapt_quadratic(Pamela(skips=False), meta, steps=2)

    # A rate r leaves 1 - 3 r of the distance to the minimum at .5, here 1.5 at first.
    assert value == pytest.approx(0.5 + 1.5 * 0.7 * 0.4, abs=1e-12)
    assert trace.rates.tolist() == [[0.1], [0.2]]


# Distances to the minimum; each step leaves .7 of the last, then P of an older one is mixed in.
AFTER = [1.5, 1.05, 0.735, 0.5 * 0.5145 + 0.5 * 1.5, 0.705075, 0.75 * 0.4935525 + 0.25 * 0.735]
BLOCK_END = [1.5, 1.05, 0.5 * 0.735 + 0.5 * 1.5, 0.78225, 0.75 * 0.547575 + 0.25 * 1.1175]


@pytest.mark.parametrize(
    ("index", "distances"), [("after", AFTER), ("block_end", [*BLOCK_END, 0.7 * 0.69005625])]
)
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5])
def test_both_readings_of_the_skips_by_hand(index, distances, steps):
    value, _ = adapt_quadratic(Pamela(index=index), quadratic_meta([0.5, 0.25]), steps)

    assert value - 0.5 == pytest.approx(distances[steps], abs=1e-12)


@pytest.mark.parametrize(("index", "steps"), [("after", 3), ("block_end", 2)])
def test_a_skip_of_one_brings_the_old_weights_back(index, steps):
    value, _ = adapt_quadratic(Pamela(index=index), quadratic_meta([1.0, 1.0]), steps)

    assert value == 2.0


@pytest.mark.parametrize("index", ["after", "block_end"])
def test_a_skip_of_each_step(index):
    value, _ = adapt_quadratic(Pamela(index=index, interval=1), quadratic_meta([0.5] * 4), 2)

    first = 1.05 if index == "after" else (1.05 + 1.5) / 2
    older = 1.5 if index == "after" else first
    assert value - 0.5 == pytest.approx((0.7 * first + older) / 2, abs=1e-12)


def plain(meta, params, task, steps, index="after", frozen=None, lr=0.3):
    """PAMELA of interval 2 written out, with all weights of the way; also the gradients seen."""
    way, seen = [params], []
    for j in range(steps):
        seen.append(support_gradients(way[j], task))
        grads = frozen[j] if frozen else seen[j]
        filters = meta["rate/conv.weight"][j]
        rates = {
            "conv.weight": filters[:, None, None, None],
            "conv.bias": filters,
            "norm.weight": filters,
            "norm.bias": filters,
            "hidden.weight": meta["rate/hidden.weight"][j],
            "hidden.bias": lr,
            "head.weight": meta["rate/head.weight"][j],
            "head.bias": lr,
        }
        after = {name: way[j][name] - rates[name] * grads[name] for name in rates}
        source = j - 2 if index == "after" else j - 1
        if source >= 0 and source % 2 == 0:
            for info in INFOS:
                p = meta[f"skip/{info.module}"][source // 2]
                after[info.name] = (1 - p) * after[info.name] + p * way[source][info.name]
        way.append(after)
    return query_loss(way[-1], task), seen


@pytest.mark.parametrize("second_order", [True, False])
@pytest.mark.parametrize("index", ["after", "block_end"])
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_loss_and_its_derivatives_against_the_written_out_form(index, steps, second_order):
    scheme, task, params = Pamela(lr=0.3, index=index), draw_tasks(), draw_params()
    meta = draw_meta(scheme, steps)
    fast, _ = adapted(scheme, meta, params, task, steps, second_order=second_order)
    loss = query_loss(fast, task)
    leaves = params | meta
    gradients = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))

    expected, seen = plain(meta, params, task, steps, index)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-12)

    def surrogate(tensors):
        theta = {info.name: tensors[info.name] for info in INFOS}
        return plain(tensors, theta, task, steps, index, None if second_order else seen)[0]

    assert_derivatives(surrogate, leaves, gradients)


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("preconditioning", ["per_step", "shared", "none"])
@pytest.mark.parametrize("index", ["after", "block_end"])
def test_begins_as_the_fixed_rate(index, preconditioning, relative):
    task, params = draw_tasks(dtype=torch.float32), draw_params(torch.float32)
    scheme = Pamela(index=index, preconditioning=preconditioning, relative=relative)
    meta = scheme.init(INFOS, 5, torch.Generator())

    ours, trace = adapted(scheme, meta, params, task, 5)
    expected, _ = adapted(Fixed(0.01), {}, params, task, 5)

    for name in expected:
        assert torch.equal(ours[name], expected[name])
    torch.testing.assert_close(trace.rates, torch.full((5, len(INFOS)), 0.01))


def test_skips_have_a_gradient_where_they_begin():
    task, params, scheme = draw_tasks(), draw_params(), Pamela()
    meta = draw_meta(scheme, 5, noise=0)

    fast, _ = adapted(scheme, meta, params, task, 5)
    gradients = torch.autograd.grad(query_loss(fast, task), list(meta.values()))

    for name, gradient in zip(meta, gradients, strict=True):
        assert (gradient != 0).any(), name
        if name.startswith("skip/"):
            assert gradient.shape == (2,) and (gradient != 0).all()


def numbers(tensors):
    return sum(tensor.numel() for tensor in tensors)


def test_parameter_count_of_the_paper():
    backbone = Conv4(way=5, in_channels=3, image_size=84)
    infos = backbone.param_infos(lambda role: True)
    meta = Pamela().init(infos, 5, torch.Generator())

    assert numbers(backbone.init(torch.Generator()).values()) == 121_093
    assert numbers(meta.values()) + 121_093 == 162_391  # table 1: 162.39e3
    assert meta["rate/block3.conv.weight"].shape == (5, 64)
    assert meta["rate/head.weight"].shape == (5, 5, 1600)
    assert meta["skip/block2.norm"].shape == (2,)
    assert {value.dtype for value in meta.values()} == {torch.float32}


@pytest.mark.parametrize(
    ("settings", "rates", "skips"),
    [
        ({}, 5, 2),
        ({"index": "block_end"}, 5, 2),
        ({"index": "block_end", "interval": 5}, 5, 1),
        ({"interval": 5}, 5, 0),
        ({"interval": 6, "index": "block_end"}, 5, 0),
        ({"skips": False}, 5, 0),
        ({"preconditioning": "none"}, 0, 2),
        ({"preconditioning": "shared"}, 1, 2),
        ({"interval": 1}, 5, 4),
    ],
)
def test_nothing_is_learned_that_is_not_used(settings, rates, skips):
    meta = Pamela(**settings).init(INFOS, 5, torch.Generator())

    q = {name: len(value) for name, value in meta.items() if name.startswith("rate/")}
    p = {name: len(value) for name, value in meta.items() if name.startswith("skip/")}
    assert q == ({f"rate/{m}.weight": rates for m in ("conv", "hidden", "head")} if rates else {})
    assert p == ({f"skip/{m}": skips for m in ("conv", "norm", "hidden", "head")} if skips else {})


def test_initial_values():
    meta = Pamela(relative=True, lr=0.2, skip_start=0.5).init(INFOS, 3, torch.Generator())

    assert (meta["rate/hidden.weight"] == 1).all() and (meta["skip/conv"] == 0.5).all()
    assert (Pamela(lr=0.25).init(INFOS, 3, torch.Generator())["rate/conv.weight"] == 0.25).all()


@pytest.mark.parametrize(
    "settings", [{"interval": 6}, {"interval": 6, "index": "block_end"}, {"skips": False}]
)
def test_without_skips_only_the_preconditioners_act(settings):
    task, params = draw_tasks(), draw_params()
    meta = draw_meta(Pamela(lr=0.3), 5)

    ours, _ = adapted(
        Pamela(lr=0.3, **settings),
        {name: value for name, value in meta.items() if name.startswith("rate/")},
        params,
        task,
        5,
    )
    still = {name: value * 0 if name.startswith("skip/") else value for name, value in meta.items()}

    assert query_loss(ours, task).item() == pytest.approx(
        plain(still, params, task, 5)[0].item(), abs=1e-12
    )


def test_relative_rates_multiply_the_base_rate():
    task, params = draw_tasks(), draw_params()
    meta = draw_meta(Pamela(lr=0.3, relative=True), 3)
    effective = {
        name: 0.3 * value if name.startswith("rate/") else value for name, value in meta.items()
    }

    ours, _ = adapted(Pamela(lr=0.3, relative=True), meta, params, task, 3)
    expected, _ = adapted(Pamela(lr=0.3), effective, params, task, 3)

    for name in expected:
        torch.testing.assert_close(ours[name], expected[name], rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [0.1, 0.2, 0.3, 0.05, 0.05]),
        ({"beyond": "last"}, [0.1, 0.2, 0.3, 0.3, 0.3]),
        ({"preconditioning": "shared"}, [0.1, 0.1, 0.1, 0.1, 0.1]),
        ({"preconditioning": "none"}, [0.05, 0.05, 0.05, 0.05, 0.05]),
    ],
)
def test_rates_of_steps_beyond_the_trained_ones(settings, expected):
    values = {"shared": [0.1], "none": []}.get(settings.get("preconditioning"), [0.1, 0.2, 0.3])
    meta = {"rate/w.weight": torch.tensor(values, dtype=torch.float64)[:, None, None]}
    scheme = Pamela(lr=0.05, skips=False, **settings)

    _, trace = adapt_quadratic(scheme, meta if values else {}, steps=5)

    assert trace.rates.flatten().tolist() == expected


@pytest.mark.parametrize("index", ["after", "block_end"])
def test_steps_beyond_the_trained_ones_do_not_skip(index):
    meta = quadratic_meta([0.5, 0.25])

    trained, _ = adapt_quadratic(Pamela(lr=0.1, index=index), meta, steps=5)
    more, _ = adapt_quadratic(Pamela(lr=0.1, index=index), meta, steps=9)

    assert more - 0.5 == pytest.approx((trained - 0.5) * 0.7**4, abs=1e-12)


def test_a_normalisation_takes_the_rates_of_the_convolution_before_it_alone():
    infos = [
        ParamInfo("norm0.weight", (2,), "norm0", "norm", True),
        *INFOS[:4],
        ParamInfo("gate.bias", (2,), "gate", "bias", True),
        *INFOS[4:],
        ParamInfo("norm9.weight", (2,), "norm9", "norm", True),
    ]
    one = torch.ones((), dtype=torch.float64)
    meta = {"rate/conv.weight": torch.full((1, 2), 0.5), "rate/hidden.weight": 0.5 * one[None]}
    tensors = {info.name: one.expand(info.shape) for info in infos}
    at = InnerStep(0, 1, infos, tensors, tensors, one, one, one)
    rates = dict(zip(tensors, Pamela(skips=False).step(meta, at, {}).rates.tolist(), strict=True))

    assert [rates[name] for name in ("norm0.weight", "conv.bias", "norm.weight")] == [
        0.01,
        0.5,
        0.5,
    ]
    for other in ("gate.bias", "hidden.bias", "norm9.weight"):
        assert rates[other] == 0.01


@pytest.mark.parametrize(
    "settings", [{}, {"index": "block_end"}, {"preconditioning": "shared"}, {"skips": False}]
)
def test_tasks_at_once_equal_one_by_one(settings):
    assert_batch_equals_loop(Pamela(lr=0.3, **settings))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"index": "block"}, "index 'block': did you mean 'block_end'"),
        ({"preconditioning": "per-step"}, "did you mean 'per_step'"),
        ({"beyond": "first"}, "beyond 'first'"),
        ({"lr": 0.0}, "lr is 0.0"),
        ({"skip_start": float("nan")}, "skip_start is nan"),
        ({"interval": 0}, "interval is 0"),
    ],
)
def test_unusable_settings_are_refused(settings, message):
    with pytest.raises(UsageError, match=message):
        Pamela(**settings)
