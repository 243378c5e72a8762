"""Metrics of regression tasks against numbers worked out by hand."""

import math

import numpy as np
import pytest

from trainers.evaluation import confidence_interval
from trainers.tasks.metrics import drug_activity, mean_squared_error, mse, r_squared


def column(*tasks: list[float]) -> np.ndarray:
    return np.array(tasks, np.float32)[..., np.newaxis]


def test_mse_is_the_mean_over_points_and_outputs() -> None:
    predictions, targets = column([1, 2, 3], [0, 0, 0]), column([1, 4, 2], [3, 0, 0])
    np.testing.assert_allclose(mse(predictions, targets), [5 / 3, 3])
    two_outputs = np.array([[1.0, 2.0], [3.0, 4.0]])
    assert mse(two_outputs, np.zeros((2, 2))) == 30 / 4


def test_r_squared_is_the_squared_correlation() -> None:
    """(1,2,3) with (1,4,2): deviations (-1,0,1) and (-4,5,-1)/3, so r = 1 / sqrt(2 * 42 / 9)."""
    targets = column([1, 4, 2], [1, 4, 2], [1, 4, 2])
    predictions = column([1, 2, 3], [-3, -9, -5], [7, 7, 7])
    np.testing.assert_allclose(r_squared(predictions, targets), [3 / 28, 1, 0], rtol=1e-12)
    assert r_squared(column([0.1] * 3), column([1, 2, 4])) == 0
    assert r_squared(column([1, 2, 4]), column([0.1] * 3)) == 0


def test_r_squared_is_that_of_numpys_correlation() -> None:
    random = np.random.default_rng(0)
    predictions, targets = random.normal(size=(2, 6, 9, 2))
    expected = [
        np.mean([np.corrcoef(p[:, o], t[:, o])[0, 1] ** 2 for o in range(2)])
        for p, t in zip(predictions, targets, strict=True)
    ]
    np.testing.assert_allclose(r_squared(predictions, targets), expected, rtol=1e-10)


def test_drug_activity_counts_what_is_strictly_above() -> None:
    summary = drug_activity(np.array([0.1, 0.3, 0.31, 0.5, 0.04]))
    assert summary.mean == pytest.approx(0.25)
    assert summary.median == pytest.approx(0.3)
    assert (summary.share_above, summary.count_above) == (0.4, 2)


def test_the_interval_is_that_of_every_evaluation() -> None:
    figures = np.array([1.0, 2.0, 3.0, 6.0])
    summary = mean_squared_error(figures)
    assert summary.mean == 3
    assert summary.interval == pytest.approx(1.96 * math.sqrt(3.5) / 2)
    assert summary.interval == confidence_interval(figures)


@pytest.mark.parametrize("shape", [(3,), (3, 2), (1, 3)])
@pytest.mark.parametrize("metric", [mse, r_squared])
def test_shapes_that_would_broadcast_are_refused(metric, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected one shape \[..., n, o\]"):
        metric(np.zeros(shape), np.zeros((3, 1)))
    with pytest.raises(ValueError, match="expected one shape"):
        metric(np.zeros(3), np.zeros(3))
