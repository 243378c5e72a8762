"""Draws without replacement with odds exp(score), and the probability of what was drawn."""

import numpy as np

from episodes.sampling.rng import fractions


def softmax(scores: np.ndarray) -> np.ndarray:
    """float64 [n]: probabilities in proportion to exp(scores)."""
    odds = np.exp(scores - scores.max())
    return odds / odds.sum()


def softmax_backward(probabilities: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """[n]: the gradient with respect to the scores, from that with respect to `softmax`."""
    return probabilities * (gradients - probabilities @ gradients)


def gumbel_top(scores: np.ndarray, count: int, words: np.ndarray) -> np.ndarray:
    """int64 [count]: positions drawn one after another with odds exp(score), without replacement.

    `words` is uint64 [n]. Source: Gumbel noise added to the scores orders them as such draws do
    (Yellott 1977).
    """
    uniform = np.maximum(fractions(words), 2.0**-54)
    return np.argsort(-(scores - np.log(-np.log(uniform))), kind="stable")[:count]


def log_probability(scores: np.ndarray, drawn: np.ndarray) -> float:
    """The log-probability of drawing `drawn` in this order, by Plackett and Luce."""
    left, total = np.ones(len(scores), bool), 0.0
    for position in drawn:
        total += float(scores[position] - np.logaddexp.reduce(scores[left]))
        left[position] = False
    return total


def log_probability_gradient(scores: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """float64 [n]: the gradient of `log_probability` with respect to the scores."""
    left, gradient = np.ones(len(scores), bool), np.zeros(len(scores))
    for position in drawn:
        gradient[position] += 1
        gradient[left] -= softmax(scores[left])
        left[position] = False
    return gradient
