import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from episodes.sampling import measures

ROWS = np.array([[1.0, 0], [0, 1], [1, 1], [1, -1]])
LABELS = np.array([0, 0, 1, 1])


def volume(rows: np.ndarray, scale: float) -> float:
    return float(np.linalg.slogdet(np.eye(rows.shape[1]) + rows.T @ rows / scale)[1])


def test_diversity_and_entropy_of_four_samples() -> None:
    assert measures.diversity(ROWS) == pytest.approx(17.322933, abs=1e-6)
    assert measures.entropy(ROWS, LABELS) == pytest.approx(4.273473, abs=1e-6)
    unit = measures.unit_norm(ROWS)
    assert measures.diversity(unit) == pytest.approx(15.727303, abs=1e-6)
    assert measures.entropy(unit, LABELS) == pytest.approx(3.931826, abs=1e-6)


def test_enrichment_compactness_and_separability_of_four_samples() -> None:
    assert measures.enrichment(ROWS) == pytest.approx(17.322933 / 4, abs=1e-6)
    # Class means (.5, .5) and (1, 0); squared distances .5, .5, 1, 1.
    assert measures.compactness(ROWS, LABELS) == pytest.approx(0.75)
    assert measures.separability(ROWS, LABELS) == pytest.approx(0.5)


@settings(max_examples=40, deadline=None)
@given(samples=st.integers(1, 9), dimensions=st.integers(1, 9), seed=st.integers(0, 2**32))
def test_measures_are_their_definitions(samples: int, dimensions: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    rows = generator.normal(size=(samples, dimensions))
    labels = generator.integers(0, 3, samples)
    classes = np.unique(labels)
    means = {label: rows[labels == label].mean(axis=0) for label in classes}

    # By the d x d matrix, which is the smaller one or not.
    assert measures.diversity(rows) == pytest.approx(samples / 2 * volume(rows, samples * 0.01))
    parts = [(labels == label).sum() for label in classes]
    expected = sum(
        part / (2 * samples) * volume(rows[labels == label], part * 0.01)
        for label, part in zip(classes, parts, strict=True)
    )
    assert measures.entropy(rows, labels) == pytest.approx(expected)
    from_mean = [((row - means[label]) ** 2).sum() for row, label in zip(rows, labels, strict=True)]
    assert measures.compactness(rows, labels) == pytest.approx(np.mean(from_mean))
    pairs = [((means[a] - means[b]) ** 2).sum() for a in classes for b in classes if a < b]
    assert measures.separability(rows, labels) == pytest.approx(np.mean(pairs) if pairs else 0)


@pytest.mark.parametrize("shape", [(5, 6, 3), (5, 3, 6)])
def test_a_batch_of_tasks_is_its_tasks(shape: tuple[int, ...]) -> None:
    generator = np.random.default_rng(3)
    rows, labels = generator.normal(size=shape), generator.integers(0, 4, shape[:2])
    for measure in (measures.diversity, measures.enrichment):
        np.testing.assert_allclose(measure(rows), [measure(task) for task in rows])
    for measure in (measures.entropy, measures.compactness, measures.separability):
        alone = [measure(*task) for task in zip(rows, labels, strict=True)]
        np.testing.assert_allclose(measure(rows, labels), alone)


def test_with_one_class_entropy_is_diversity_a_sample() -> None:
    rows = np.random.default_rng(1).normal(size=(6, 4))
    one = np.zeros(6, np.int64)
    assert measures.entropy(rows, one) == pytest.approx(measures.diversity(rows) / 6)
    assert measures.separability(rows, one) == 0


def test_features_of_zero_measure_zero() -> None:
    zeros, labels = np.zeros((2, 4, 3), np.float32), np.array([[0, 0, 1, 1]] * 2)
    np.testing.assert_array_equal(measures.unit_norm(zeros), zeros)
    found = [
        measures.diversity(zeros),
        measures.enrichment(zeros),
        measures.entropy(zeros, labels),
        measures.compactness(zeros, labels),
        measures.separability(zeros, labels),
    ]
    np.testing.assert_array_equal(found, np.zeros((5, 2)))


def test_unit_norm_rows_have_length_1_however_small() -> None:
    rows = np.array([[3.0, 4], [0, -2e-9], [0, 0]])
    np.testing.assert_allclose(measures.unit_norm(rows), [[0.6, 0.8], [0, -1], [0, 0]])
