"""What predictions on regression tasks are judged by, in NumPy and float64."""

from dataclasses import dataclass

import numpy as np

GOOD_R_SQUARED = 0.3


@dataclass(frozen=True)
class MeanSquaredError:
    """The mean over tasks of their mean squared errors, and half its 95 % interval's width."""

    mean: float
    interval: float


@dataclass(frozen=True)
class DrugActivity:
    """R squared over tasks: mean, median, and the share and number of tasks above 0.3."""

    mean: float
    median: float
    share_above: float
    count_above: int


def mse(predictions: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """[...]: the mean squared error of each task's predictions [..., n, o].

    Raises ValueError where the shapes of predictions and targets differ.
    """
    predictions, targets = _same_shape(predictions, targets)
    return np.square(predictions - targets).mean(axis=(-2, -1))


def r_squared(predictions: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """[...]: the squared correlation of each task's predictions [..., n, o], averaged over outputs.

    This is Pearson's, as in the code of the drug-activity papers (MetaMix, ATS), not the
    coefficient of determination: a scale or an offset of the predictions does not lower it. It is 0
    where predictions or targets are constant. Raises ValueError where the shapes differ.
    """
    predictions, targets = _same_shape(predictions, targets)
    is_constant = (np.ptp(predictions, axis=-2) == 0) | (np.ptp(targets, axis=-2) == 0)
    predictions = predictions - predictions.mean(axis=-2, keepdims=True)
    targets = targets - targets.mean(axis=-2, keepdims=True)
    covariance = (predictions * targets).sum(axis=-2)
    variances = np.square(predictions).sum(axis=-2) * np.square(targets).sum(axis=-2)
    correlation = covariance / np.sqrt(np.where(is_constant, 1, variances))
    return np.where(is_constant, 0, np.square(correlation)).mean(axis=-1)


def confidence_interval(figures: np.ndarray) -> float:
    """Half the width of the 95 % interval of the mean: 1.96 * std / sqrt(T) over T tasks.

    The standard deviation divides by T, as in the papers' code.
    """
    return float(1.96 * np.std(figures) / np.sqrt(len(figures)))


def mean_squared_error(figures: np.ndarray) -> MeanSquaredError:
    """The summary of the tasks' `mse` [T], with its `confidence_interval`.

    Sinusoids and poses are reported so.
    """
    figures = np.asarray(figures, np.float64)
    return MeanSquaredError(float(figures.mean()), confidence_interval(figures))


def drug_activity(figures: np.ndarray) -> DrugActivity:
    """The summary of the tasks' `r_squared` [T]."""
    figures = np.asarray(figures, np.float64)
    above = figures > GOOD_R_SQUARED
    return DrugActivity(
        mean=float(figures.mean()),
        median=float(np.median(figures)),
        share_above=float(above.mean()),
        count_above=int(above.sum()),
    )


def _same_shape(predictions: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    predictions, targets = (np.asarray(values, np.float64) for values in (predictions, targets))
    if predictions.shape != targets.shape or predictions.ndim < 2:
        raise ValueError(
            f"predictions {list(predictions.shape)} and targets {list(targets.shape)}; expected "
            "one shape [..., n, o]"
        )
    return predictions, targets
