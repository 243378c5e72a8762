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
from trainers.rates.alfa import Alfa
from trainers.types import ParamInfo

STRONG = {"lr": 0.3, "weight_decay": 0.5}
"""Settings under which every term of the update matters."""


def matrix(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def test_two_steps_by_hand():
    # The generator passes its input on: the rate's factor is the weight, the decay's the gradient.
    identity, zero = torch.eye(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    meta = {f"generator/{number}.weight": identity for number in (1, 2, 3)}
    meta |= {f"generator/{number}.bias": zero for number in (1, 2, 3)}
    meta |= {"alpha": matrix([0.1], [0.2]), "beta": matrix([0.01], [0.02])}

    value, trace = adapt_quadratic(Alfa(), meta, steps=2)

    # Gradients 3 (w - .5): 4.5 at 2, then 1.53 at 1.01.
    first = (1 - 4.5 * 0.01) * 2 - 2 * 0.1 * 4.5
    assert first == pytest.approx(1.01)
    assert value == pytest.approx((1 - 1.53 * 0.02) * 1.01 - 1.01 * 0.2 * 1.53, abs=1e-12)
    torch.testing.assert_close(trace.rates, matrix([0.2], [1.01 * 0.2]))


def test_random_initialisation_by_hand():
    scheme = Alfa(alpha="constant", beta="per_step", lr=0.1, random_init=True)
    meta = {"beta": torch.tensor([0.2, 0.4]), "decay/w.weight": matrix([0.5])}

    value, _ = adapt_quadratic(scheme, meta, steps=2)

    first = (1 - 0.5 * 0.2) * 2 - 0.1 * 4.5
    assert value == pytest.approx((1 - 0.5 * 0.4) * first - 0.1 * 3 * (first - 0.5), abs=1e-7)


def plain(scheme, meta, params, task, frozen=None, second_order=True, steps=2):
    """ALFA written out; `frozen` gradients, one set a step, stand where the graph is cut."""
    seen = []
    for j in range(steps):
        grads = support_gradients(params, task)
        seen.append(grads)
        constant = grads if frozen is None else frozen[j]
        used = grads if second_order else constant
        tau = [params[info.name].mean() for info in INFOS] if scheme.state != "gradients" else []
        tau += [constant[info.name].mean() for info in INFOS] if scheme.state != "weights" else []
        hidden = torch.stack(tau)
        for number in range(1, scheme.generator_layers + 1):
            hidden = meta[f"generator/{number}.weight"] @ hidden
            hidden = hidden + meta[f"generator/{number}.bias"]
            hidden = hidden if number == scheme.generator_layers else hidden.clamp(min=0)
        updated = {}
        for i, info in enumerate(INFOS):
            rate = hidden[i] * meta["alpha"][j, i]
            decay = hidden[i + len(INFOS)] * meta["beta"][j, i]
            if scheme.random_init:
                decay = decay * meta[f"decay/{info.name}"]
            updated[info.name] = (1 - decay) * params[info.name] - rate * used[info.name]
        params = updated
    return query_loss(params, task), seen


@pytest.mark.parametrize("second_order", [True, False])
@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({}, 1),
        ({}, 2),
        ({}, 5),
        ({"state": "weights"}, 2),
        ({"state": "gradients"}, 2),
        ({"generator_layers": 2}, 2),
        ({"random_init": True}, 2),
    ],
)
def test_loss_and_its_derivatives_against_the_written_out_form(settings, steps, second_order):
    scheme, task, params = Alfa(**STRONG, **settings), draw_tasks(), draw_params()
    meta = draw_meta(scheme, steps)
    fast, _ = adapted(scheme, meta, params, task, steps, second_order=second_order)
    loss = query_loss(fast, task)
    leaves = params | meta
    gradients = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))

    expected, frozen = plain(scheme, meta, params, task, steps=steps)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-12)

    def surrogate(tensors):
        theta = {info.name: tensors[info.name] for info in INFOS}
        return plain(scheme, tensors, theta, task, frozen, second_order, steps)[0]

    assert_derivatives(surrogate, leaves, gradients)
    for name in meta:
        assert gradients[name].abs().max() > 0, name


@pytest.mark.parametrize("adaptivity", ["fixed", "per_step", "per_layer"])
@pytest.mark.parametrize("which", ["alpha", "beta"])
def test_learned_values_equal_the_same_ones_generated(which, adaptivity):
    # A generator whose output is always 1 leaves the multipliers, set here to the learned values.
    task, params = draw_tasks(), draw_params()
    scheme = Alfa(**STRONG, unit_start=True, **{which: adaptivity})
    meta = draw_meta(scheme, 2) | scheme.init(INFOS, 2, torch.Generator())
    values = torch.rand(meta[which].shape, dtype=torch.float64, generator=torch.Generator())
    meta = {name: value.double() for name, value in meta.items()} | {which: values}
    wide = values[:, None] if adaptivity == "per_step" else values
    full = Alfa(**STRONG, unit_start=True)
    full_meta = {
        name: value.double() for name, value in full.init(INFOS, 2, torch.Generator()).items()
    } | {which: wide.expand(2, len(INFOS))}

    ours, _ = adapted(scheme, meta, params, task, 2)
    expected, _ = adapted(full, full_meta, params, task, 2)

    for name in expected:
        torch.testing.assert_close(ours[name], expected[name], rtol=0, atol=1e-12)


@pytest.mark.parametrize("random_init", [False, True])
def test_unit_start_is_gradient_descent_with_decay(random_init):
    task, params = draw_tasks(dtype=torch.float32), draw_params(torch.float32)
    scheme = Alfa(unit_start=True, random_init=random_init)
    meta = scheme.init(INFOS, 3, torch.Generator())

    fast, trace = adapted(scheme, meta, params, task, 3)

    expected = params
    for _ in range(3):
        grads = support_gradients(expected, task)
        keep = 1 - torch.tensor(0.01 * 5e-4)
        expected = {name: keep * value - 0.01 * grads[name] for name, value in expected.items()}
    for name in fast:
        assert torch.equal(fast[name], expected[name])
    assert torch.equal(trace.rates, torch.full((3, 8), 0.01))


def test_without_decay_constants_are_the_fixed_rate():
    task, params = draw_tasks(dtype=torch.float32), draw_params(torch.float32)
    scheme = Alfa(alpha="constant", beta="constant", weight_decay=0.0)

    assert scheme.init(INFOS, 3, torch.Generator()) == {}
    ours, _ = adapted(scheme, {}, params, task, 3)
    expected, _ = adapted(Fixed(0.01), {}, params, task, 3)
    for name in expected:
        assert torch.equal(ours[name], expected[name])


def test_steps_beyond_the_trained_ones_take_the_last_values():
    task, params, scheme = draw_tasks(), draw_params(), Alfa(**STRONG)
    meta = draw_meta(scheme, 2)
    longer = meta | {
        key: torch.cat([meta[key], meta[key][-1:], meta[key][-1:]]) for key in ("alpha", "beta")
    }

    ours, _ = adapted(scheme, meta, params, task, 4)
    expected, _ = adapted(scheme, longer, params, task, 4)

    for name in expected:
        assert torch.equal(ours[name], expected[name])


def numbers(meta):
    return sum(value.numel() for value in meta.values())


def test_parameter_counts_of_the_paper():
    conv4 = Conv4(way=5, in_channels=3, image_size=84).param_infos(lambda role: role != "norm")
    adapting = [info for info in conv4 if info.adapted]
    meta = Alfa().init(adapting, 5, torch.Generator())

    # 2SN + 12N^2 for S = 5 and N = 10, which leaves out the generator's biases.
    biases = {name: value for name, value in meta.items() if name.endswith(".bias")}
    assert numbers(meta) - numbers(biases) == 2 * 5 * 10 + 12 * 10**2
    assert numbers(biases) == 3 * 20
    assert meta["alpha"].shape == meta["beta"].shape == (5, 10)
    assert {value.dtype for value in meta.values()} == {torch.float32}


@pytest.mark.parametrize(
    ("settings", "shapes"),
    [
        ({"alpha": "fixed", "beta": "constant"}, {"alpha": ()}),
        ({"alpha": "per_step", "beta": "per_layer"}, {"alpha": (5,), "beta": (8,)}),
        (
            {"alpha": "constant", "state": "weights", "generator_layers": 2},
            {
                "beta": (5, 8),
                "generator/1.weight": (16, 8),
                "generator/1.bias": (16,),
                "generator/2.weight": (8, 16),
                "generator/2.bias": (8,),
            },
        ),
        (
            {"alpha": "constant", "beta": "fixed", "random_init": True},
            {"beta": ()} | {f"decay/{info.name}": info.shape for info in INFOS},
        ),
    ],
)
def test_nothing_is_learned_that_is_not_used(settings, shapes):
    meta = Alfa(**settings).init(INFOS, 5, torch.Generator())

    assert {name: tuple(value.shape) for name, value in meta.items()} == shapes


def test_initial_values():
    generator = torch.Generator().manual_seed(0)
    maml = Alfa().init(INFOS, 5, generator)
    random = Alfa(random_init=True).init(INFOS, 5, generator)

    assert (maml["alpha"] == 0.01).all() and torch.allclose(maml["beta"], torch.tensor(5e-6))
    assert (random["beta"] == 1).all()
    assert torch.allclose(random["decay/hidden.weight"], torch.tensor(5e-6))
    for name, value in maml.items():
        if name.startswith("generator/"):
            assert 0.2 < value.abs().max() <= 0.25  # 1/sqrt(2M) for M = 8
    assert not torch.equal(maml["generator/1.weight"], random["generator/1.weight"])


def test_random_initial_weights_are_not_trained():
    adapting, norm, body = (
        ParamInfo("head.weight", (2, 2), "head", "head", True),
        ParamInfo("norm.weight", (2,), "norm", "norm", False),
        ParamInfo("conv.weight", (2, 1, 3, 3), "conv", "conv", False),
    )

    assert [Alfa(random_init=True).trains(info) for info in (adapting, norm, body)] == [
        False,
        False,
        True,
    ]
    assert all(Alfa().trains(info) for info in (adapting, norm, body))


@pytest.mark.parametrize(
    "settings",
    [{}, {"random_init": True}, {"alpha": "per_step", "beta": "per_layer"}, {"beta": "fixed"}],
)
def test_tasks_at_once_equal_one_by_one(settings):
    assert_batch_equals_loop(Alfa(**STRONG, **settings))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alpha": "per_stop"}, "alpha 'per_stop': did you mean 'per_step'"),
        ({"beta": "adaptive"}, "beta 'adaptive'"),
        ({"state": "weight"}, "did you mean 'weights'"),
        ({"lr": -0.1}, "lr is -0.1"),
        ({"weight_decay": float("inf")}, "weight_decay is inf"),
        ({"generator_layers": 4}, "generator_layers is 4"),
    ],
)
def test_unusable_settings_are_refused(settings, message):
    with pytest.raises(UsageError, match=message):
        Alfa(**settings)
