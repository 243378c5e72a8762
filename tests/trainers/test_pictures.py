"""The pictures of a run: they are drawn, and what they smooth is a moving average."""

import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from trainers import pictures
from trainers.evaluation import Evaluation
from trainers.metrics import ACCURACY, MSE

TEST = {"accuracy": 0.6, "interval": 0.02}


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that were made, in order."""
    figures = []
    make = pictures.figure_of
    monkeypatch.setattr(
        pictures, "figure_of", lambda height: figures.append(make(height)) or figures[-1]
    )
    return figures


def evaluation_of(rates: np.ndarray, branches: np.ndarray | None = None) -> Evaluation:
    """Of episodes that differ in their rates alone."""
    episodes, steps = rates.shape[:2]
    if branches is None:
        branches = np.full((episodes, steps), np.nan)
    every_episode, every_step = np.ones(episodes), np.ones((episodes, steps))
    norms = np.ones((episodes, steps, 1))
    return Evaluation(every_episode, every_episode, rates, branches, every_step, norms)


def is_png(content: bytes) -> bool:
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        return image.format == "PNG" and len(image.convert("RGB").getcolors(1 << 24)) > 2


def test_the_learning_curve_shows_training_validation_and_test(drawn: list[Figure]) -> None:
    iterations = [{"iteration": i, "loss": 2 / i, "accuracy": i / 200} for i in range(1, 101)]
    validations = [{"iteration": 50, "validation_accuracy": 0.5, "validation_interval": 0.01}]
    assert is_png(pictures.learning_curve(ACCURACY, iterations, validations, TEST))
    loss, accuracy = drawn[0].axes
    raw, smooth = (line.get_ydata() for line in loss.lines)
    np.testing.assert_allclose(raw, [2 / i for i in range(1, 101)])
    assert np.abs(np.diff(smooth)).max() < np.abs(np.diff(raw)).max()
    assert [50.0] in [list(line.get_ydata()) for line in accuracy.lines]
    labels = [text.get_text() for text in accuracy.get_legend().get_texts()]
    assert "test of the best checkpoint: 60.00 %" in labels


def test_a_learning_curve_of_errors(drawn: list[Figure]) -> None:
    iterations = [{"iteration": i, "loss": 2 / i, "mse": 4 / i} for i in range(1, 101)]
    assert is_png(pictures.learning_curve(MSE, iterations, [], {"mse": 0.25, "interval": 0.02}))
    error = drawn[0].axes[1]
    np.testing.assert_allclose(error.lines[0].get_ydata(), [4 / i for i in range(1, 101)])
    labels = [text.get_text() for text in error.get_legend().get_texts()]
    assert "test of the best checkpoint: 0.2500" in labels
    assert error.get_ylabel() == "query mse"


def test_a_run_without_iterations_or_validations_has_a_learning_curve() -> None:
    assert is_png(pictures.learning_curve(ACCURACY, [], [], TEST))


def test_rates_show_mean_spread_and_branches(drawn: list[Figure]) -> None:
    rates = np.array([[0.01, 0.1], [0.01, 0.3]])
    branches = np.array([[0.0, 1.0], [0.0, 1.0]])
    evaluation = evaluation_of(rates, branches)
    assert is_png(pictures.rates(evaluation, 1, ("first", "second"), ["w"]))
    rate, share = drawn[0].axes
    np.testing.assert_allclose(rate.lines[0].get_ydata(), [0.01, 0.2])
    assert [bar.get_height() for bar in share.patches] == [0, 100, 100, 0]


def test_rates_without_branches_have_one_panel(drawn: list[Figure]) -> None:
    evaluation = evaluation_of(np.full((3, 4), 0.1))
    assert is_png(pictures.rates(evaluation, 4, None, ["w"]))
    assert len(drawn[0].axes) == 1


def test_rates_of_each_tensor_have_a_panel_each(drawn: list[Figure]) -> None:
    rates = np.random.default_rng(0).uniform(size=(3, 4, 5))
    evaluation = evaluation_of(rates)
    names = ["a", "b", "c", "d", "e"]
    assert is_png(pictures.rates(evaluation, 2, None, names))
    panels = [axes for axes in drawn[0].axes if axes.axison]
    assert [panel.get_title() for panel in panels] == names
    for number, panel in enumerate(panels):
        np.testing.assert_allclose(panel.lines[0].get_ydata(), rates[:, :, number].mean(0))


@pytest.mark.parametrize("length", [1, 39, 40, 200])
def test_smoothing_is_the_mean_of_the_neighbours(length: int) -> None:
    values = np.random.default_rng(0).normal(size=length)
    half = length // 40
    expected = [values[max(i - half, 0) : i + half + 1].mean() for i in range(length)]
    np.testing.assert_allclose(pictures.smoothed(values), expected)
