"""The families' distributions, measured on what the streams give."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from trainers import tasks
from trainers.tasks import FAMILIES

TASKS = 4000
KOLMOGOROV = 1.95  # D * sqrt(n) exceeds this once in a thousand true samples

Distribution = Callable[[np.ndarray], np.ndarray]


def uniform(low: float, high: float) -> Distribution:
    return lambda x: np.clip((x - low) / (high - low), 0, 1)


def gaussian(std: float) -> Distribution:
    return np.vectorize(lambda x: 0.5 + 0.5 * math.erf(x / (std * math.sqrt(2))))


def kolmogorov(sample: np.ndarray, distribution: Distribution) -> float:
    """sqrt(n) times the largest distance of the sample's distribution function from another."""
    ordered = np.sort(sample.ravel())
    steps = np.arange(len(ordered) + 1) / len(ordered)
    expected = distribution(ordered)
    distance = max((expected - steps[:-1]).max(), (steps[1:] - expected).max())
    return math.sqrt(len(ordered)) * distance


def test_the_test_of_distributions_tells_them_apart() -> None:
    sample = np.random.default_rng(0).uniform(0, 1, TASKS)
    assert kolmogorov(sample, uniform(0, 1)) < KOLMOGOROV
    assert kolmogorov(sample, uniform(0, 1.1)) > KOLMOGOROV
    assert kolmogorov(0.9 * sample + 0.05, uniform(0, 1)) > KOLMOGOROV


@pytest.fixture(scope="module")
def waves() -> tuple[np.ndarray, np.ndarray]:
    batch = tasks.stream("sinusoid", shot=5, query=10).batch(0, TASKS)
    return batch.query_inputs[..., 0].astype(float), batch.query_targets[..., 0].astype(float)


def test_mamls_waves_have_uniform_amplitudes_phases_and_inputs(
    waves: tuple[np.ndarray, np.ndarray],
) -> None:
    """A sin(x - phi) = (A cos phi) sin x - (A sin phi) cos x: two unknowns, by least squares."""
    x, y = waves
    basis = np.stack([np.sin(x), -np.cos(x)], axis=-1)
    found = np.linalg.pinv(basis) @ y[..., np.newaxis]
    np.testing.assert_allclose((basis @ found)[..., 0], y, atol=1e-5)
    cosine, sine = found[:, 0, 0], found[:, 1, 0]
    assert kolmogorov(np.hypot(cosine, sine), uniform(0.1, 5)) < KOLMOGOROV
    assert kolmogorov(np.arctan2(sine, cosine), uniform(0, math.pi)) < KOLMOGOROV
    assert kolmogorov(x, uniform(-5, 5)) < KOLMOGOROV


@pytest.mark.parametrize(
    ("name", "low", "high"), [("sinusoid-frequency", 0.8, 1.2), ("sinusoid-480", 0.5, 2.0)]
)
def test_frequencies_are_uniform(name: str, low: float, high: float) -> None:
    """For a sinusoid f of mean m, f(x + h) + f(x - h) - 2 m = 2 cos(w h) (f(x) - m)."""
    family, h = FAMILIES[name], 0.4
    functions = tasks.stream(name, "test").functions(0, TASKS)
    grid = np.broadcast_to(h * np.arange(-1, 3), (TASKS, 4))
    y = family.values(functions, grid)
    cosine = ((y[:, 3] - y[:, 0]) / (y[:, 2] - y[:, 1]) - 1) / 2  # differences do not know m
    is_steep = np.abs(y[:, 2] - y[:, 1]) > 1e-6
    frequencies = np.arccos(np.clip(cosine[is_steep], -1, 1)) / h
    assert is_steep.mean() > 0.99
    assert kolmogorov(frequencies, uniform(low, high)) < KOLMOGOROV


def test_phases_of_the_waves_with_frequency_are_uniform() -> None:
    """At x = 0 such a wave is A sin(b), and its slope A w cos(b): signs alone tell b's quarter."""
    functions = tasks.stream("sinusoid-frequency", "test").functions(0, TASKS)
    grid = np.broadcast_to([-1e-4, 0.0, 1e-4], (TASKS, 3))
    y = FAMILIES["sinusoid-frequency"].values(functions, grid)
    assert (y[:, 1] >= 0).all()
    falls = (y[:, 2] < y[:, 0]).mean()
    assert abs(falls - 0.5) < 4 * 0.5 / math.sqrt(TASKS)


def test_noise_is_normal_with_the_familys_deviation() -> None:
    stream = tasks.stream("sinusoid-480", "test", shot=5, query=10)
    batch, functions = stream.batch(0, TASKS), stream.functions(0, TASKS)
    for inputs, targets in (
        (batch.support_inputs, batch.support_targets),
        (batch.query_inputs, batch.query_targets),
    ):
        clean = FAMILIES["sinusoid-480"].values(functions, inputs[..., 0].astype(float))
        noise = targets[..., 0] - clean
        assert kolmogorov(noise, gaussian(0.3)) < KOLMOGOROV
        neighbours = np.corrcoef(noise[:, 0], noise[:, 1])[0, 1]
        assert abs(neighbours) < 4 / math.sqrt(TASKS)


def test_offsets_of_the_noisy_waves_are_uniform() -> None:
    """f(0) = b where the phase is 0."""
    functions = tasks.stream("sinusoid-480", "val").functions(0, TASKS)
    offsets = FAMILIES["sinusoid-480"].values(functions, np.zeros((TASKS, 1)))
    assert kolmogorov(offsets, uniform(0, 2 * math.pi)) < KOLMOGOROV


def test_training_has_480_functions_and_a_test_new_ones() -> None:
    training = tasks.stream("sinusoid-480", "train").functions(0, 480 * 20)
    rows, counts = np.unique(training, axis=0, return_counts=True)
    assert len(rows) == 480
    chi_square = ((counts - 20) ** 2 / 20).sum()
    assert abs(chi_square - 479) < 4 * math.sqrt(2 * 479)
    test = tasks.stream("sinusoid-480", "test").functions(0, 1000)
    assert len(np.unique(np.concatenate([rows, test]), axis=0)) == 1480


def test_half_of_the_sinusoids_and_lines_are_lines_with_uniform_slopes() -> None:
    batch = tasks.stream("sinusoid-line", shot=5, query=10).batch(0, TASKS)
    x, y = batch.query_inputs[..., 0].astype(float), batch.query_targets[..., 0].astype(float)
    basis = np.stack([x, np.ones_like(x)], axis=-1)
    found = np.linalg.pinv(basis) @ y[..., np.newaxis]
    is_line = np.abs((basis @ found)[..., 0] - y).max(axis=1) < 1e-4
    assert abs(is_line.mean() - 0.5) < 4 * 0.5 / math.sqrt(TASKS)
    assert kolmogorov(found[is_line, 0, 0], uniform(-3, 3)) < KOLMOGOROV
    assert kolmogorov(found[is_line, 1, 0], uniform(-3, 3)) < KOLMOGOROV


def test_harmonics_have_unit_power_and_inputs_around_their_centre() -> None:
    """E y^2 = (E a1^2 + E a2^2) / 2 = 1; x = mu + e: Var(x - x') = 2, Var(x) = 64 / 12 + 1."""
    batch = tasks.stream("harmonic", "test", shot=5, query=10).batch(0, TASKS)
    x, y = batch.query_inputs[..., 0].astype(float), batch.query_targets[..., 0].astype(float)
    power = np.square(y).mean(axis=1)
    assert abs(power.mean() - 1) < 4 * power.std() / math.sqrt(TASKS)
    assert kolmogorov(x[:, 0] - x[:, 1], gaussian(math.sqrt(2))) < KOLMOGOROV
    assert np.var(x[:, 0]) == pytest.approx(64 / 12 + 1, rel=0.06)


def test_harmonics_are_two_waves_of_frequencies_w_and_2w() -> None:
    """For each w there are four numbers with which sin and cos of wx and 2wx give all targets."""
    batch = tasks.stream("harmonic", "test", shot=5, query=40).batch(0, 5)
    for x, y in zip(batch.query_inputs[..., 0], batch.query_targets[..., 0], strict=True):
        x, y = x.astype(float), y.astype(float)

        def misfit(w: float, x: np.ndarray = x, y: np.ndarray = y) -> float:
            basis = np.stack([f(k * w * x) for k in (1, 2) for f in (np.sin, np.cos)], axis=-1)
            return float(np.abs(basis @ np.linalg.lstsq(basis, y)[0] - y).max())

        grid = np.linspace(5, 7, 2001)
        best = grid[np.argmin([misfit(w) for w in grid])]
        for width in (1e-3, 1e-4, 1e-5, 1e-6):
            near = best + np.linspace(-width, width, 21)
            best = near[np.argmin([misfit(w) for w in near])]
        assert misfit(best) < 1e-4 < misfit(best + 0.01)
