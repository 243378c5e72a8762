from math import log

import pytest
import torch

from episodes.errors import UsageError
from trainers import rates
from trainers.rates import Fixed, InnerStep, Personalized
from trainers.types import ParamInfo


def logits_of(true_class_probability: float, way: int = 5, samples: int = 3) -> torch.Tensor:
    """Logits whose softmax gives class 0 that probability, and the others equal shares."""
    rest = (1 - true_class_probability) / (way - 1)
    row = [log(true_class_probability)] + (way - 1) * [log(rest)]
    return torch.tensor(row, dtype=torch.float64).repeat(samples, 1)


def update(scheme, logits, targets=None):
    """One step of a scalar parameter 1 with gradient 2, all examples of class 0 unless said."""
    if targets is None:
        targets = torch.zeros(len(logits), dtype=torch.int64)
    return scheme.step(
        {},
        InnerStep(
            j=0,
            steps=1,
            infos=[ParamInfo("w", (), "w", "linear", adapted=True)],
            params={"w": torch.tensor(1.0, dtype=torch.float64)},
            grads={"w": torch.tensor(2.0, dtype=torch.float64)},
            loss=torch.nn.functional.cross_entropy(logits, targets),
            outputs=logits,
            targets=targets,
        ),
        {},
    )


def step(scheme, logits):
    """The new value, and the update that it is from."""
    found = update(scheme, logits)
    return found.params["w"].item(), found


def test_fixed_step_by_hand():
    value, found = step(Fixed(lr=0.25), logits_of(0.9))

    assert value == 0.5
    assert found.rates == 0.25
    assert found.branch is None


def test_personalized_rate_is_the_remainder_where_the_support_set_is_fitted():
    value, found = step(Personalized(lr_min=0.01, lr_max=0.3), logits_of(0.8))

    expected = 0.3 + log(0.8)
    assert found.rates.item() == pytest.approx(expected, abs=1e-12)
    assert value == pytest.approx(1 - 2 * expected, abs=1e-12)
    assert found.branch == 1


def test_personalized_rate_is_the_least_where_it_is_not():
    value, found = step(Personalized(lr_min=0.01, lr_max=0.2), logits_of(0.8))

    assert found.rates == 0.01
    assert value == 0.98
    assert found.branch == 0


def test_personalized_rate_on_the_boundary_is_zero():
    k = Personalized().measure(logits_of(0.8), torch.zeros(3, dtype=torch.int64))

    value, found = step(Personalized(lr_min=0.01, lr_max=k.item()), logits_of(0.8))

    assert found.rates == 0
    assert value == 1
    assert found.branch == 1


def test_clip_makes_the_least_rate_a_lower_bound():
    literal = step(Personalized(lr_min=0.05, lr_max=0.23), logits_of(0.8))[1].rates.item()
    clipped = step(Personalized(lr_min=0.05, lr_max=0.23, clip=True), logits_of(0.8))[1]
    above = step(Personalized(lr_min=0.05, lr_max=0.4, clip=True), logits_of(0.8))[1]

    assert 0 < literal < 0.01
    assert clipped.rates == 0.05
    assert clipped.branch == 1
    assert above.rates.item() == pytest.approx(0.4 + log(0.8))


READINGS = {
    # The true class's probability: uniform, .5, .8, .9, .95, .99 of five classes.
    ("ce", None): (1.609, 0.693, 0.223, 0.105, 0.051, 0.010),
    ("ce_mean_over_classes", None): (0.322, 0.139, 0.045, 0.021, 0.010, 0.002),
    ("kl_clamped", None): (13.1, 7.8, 2.9, 1.38, 0.65, 0.114),
    ("kl_smoothed", 0.1): (1.537, 0.611, 0.071, 0.0025, 0.007, 0.052),
    ("kl_smoothed", 0.01): (3.364, 1.725, 0.472, 0.165, 0.050, 0.0002),
    ("p_no_log", None): (-0.2, -0.5, -0.8, -0.9, -0.95, -0.99),
}


@pytest.mark.parametrize("reading", READINGS, ids=str)
def test_readings_of_the_divergence(reading):
    divergence, smoothing = reading
    scheme = Personalized(divergence=divergence, smoothing=smoothing or 0.1)
    targets = torch.zeros(3, dtype=torch.int64)

    for probability, printed in zip(
        (0.2, 0.5, 0.8, 0.9, 0.95, 0.99), READINGS[reading], strict=True
    ):
        decimals = len(str(printed).split(".")[1])
        measured = scheme.measure(logits_of(probability), targets).item()
        assert measured == pytest.approx(printed, abs=0.51 * 10**-decimals)


def test_in_regression_the_divergence_is_the_squared_error_by_hand():
    predictions, values = torch.tensor([[1.0], [2.0]]), torch.tensor([[1.5], [2.0]])

    assert Personalized().measure(predictions, values).item() == 0.125


@pytest.mark.parametrize("divergence", ["ce", "kl_smoothed", "kl_clamped", "p_no_log"])
def test_divergence_averages_over_the_samples(divergence):
    scheme = Personalized(divergence=divergence)
    targets = torch.tensor([0, 0])
    both = scheme.measure(
        torch.cat([logits_of(0.5, samples=1), logits_of(0.9, samples=1)]), targets
    )
    alone = [scheme.measure(logits_of(p, samples=2), targets) for p in (0.5, 0.9)]

    torch.testing.assert_close(both, (alone[0] + alone[1]) / 2)


def test_forgotten_logarithm_exceeds_the_largest_rate():
    _, found = step(Personalized(lr_max=0.1, divergence="p_no_log"), logits_of(0.9))

    assert found.rates.item() == pytest.approx(1.0)
    assert found.branch == 1


@pytest.mark.parametrize("detach_rate", [True, False])
def test_graph_through_the_rate(detach_rate):
    logits = logits_of(0.8).requires_grad_()

    _, found = step(Personalized(lr_max=0.5, detach_rate=detach_rate), logits)

    assert found.rates.requires_grad is not detach_rate


@pytest.mark.parametrize(
    "scheme", [Fixed(), Personalized(lr_max=0.5), Personalized(lr_max=0.5, clip=True)]
)
def test_steps_batched_over_tasks_equal_single_ones(scheme):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 4, 3, dtype=torch.float64, generator=generator) * 3
    targets = torch.randint(3, (6, 4), generator=generator)

    def rate(logits, targets):
        return update(scheme, logits, targets).rates

    batched = torch.vmap(rate)(logits, targets)

    torch.testing.assert_close(
        batched, torch.stack([rate(*task) for task in zip(logits, targets, strict=True)])
    )


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("personalised", {}, "did you mean 'personalized'"),
        ("personalized", {"divergence": "kl_smooth"}, "did you mean 'kl_smoothed'"),
        ("personalized", {"lr_min": 0.0}, "lr_min is 0.0"),
        ("personalized", {"lr_max": float("inf")}, "lr_max is inf"),
        ("personalized", {"smoothing": 1.0}, "smoothing is 1.0"),
        ("personalized", {"clamp": 0.0}, "clamp is 0.0"),
        ("fixed", {"lr": -0.1}, "lr is -0.1"),
        ("fixed", {"lr": float("nan")}, "lr is nan"),
    ],
)
def test_unusable_settings_are_refused(name, settings, message):
    with pytest.raises(UsageError, match=message):
        rates.build(name, **settings)


def test_build_by_name():
    assert rates.build("fixed", lr=0.5) == Fixed(0.5)
    assert rates.build("personalized", clip=True) == Personalized(clip=True)
    assert rates.build("none") == Fixed()


@pytest.mark.parametrize("scheme", [Fixed(), Personalized()])
def test_settings_only_schemes_have_nothing_to_learn(scheme, backbone):
    infos = backbone.param_infos(lambda role: True)
    params = {"w": torch.ones(())}

    assert scheme.init(infos, 5, torch.Generator()) == {}
    assert scheme.prepare({}, params, dict) == (params, {})
    assert all(scheme.trains(info) for info in infos)
