"""A small network that scores tasks by their measures, with its gradients and optimizer."""

import math
from collections.abc import Mapping

import numpy as np

from episodes.sampling.rng import fractions
from episodes.sampling.sampler import Arrays, entry

HIDDEN = 32
DECAYS = 0.9, 0.999
EPSILON = 1e-8

Parameters = Mapping[str, np.ndarray]
Cache = tuple[np.ndarray, np.ndarray]


class WeightingNetwork:
    """inputs - 32 - 1 with ReLU, float64: a score for each row of inputs.

    The first layer is uniform within 1 / sqrt(inputs) of 0, as torch.nn.Linear makes it, from
    uint64 `words` [words_needed(inputs)]; the last is 0, so that all scores are 0 at first.
    """

    def __init__(self, inputs: int, words: np.ndarray) -> None:
        bound = 1 / math.sqrt(inputs)
        first = (2 * fractions(words) - 1) * bound
        self.parameters: Parameters = {
            "first.weight": first[HIDDEN:].reshape(HIDDEN, inputs),
            "first.bias": first[:HIDDEN],
            "last.weight": np.zeros(HIDDEN),
            "last.bias": np.zeros(()),
        }

    @staticmethod
    def words_needed(inputs: int) -> int:
        """The random words of a new network."""
        return HIDDEN * (inputs + 1)

    def forward(self, inputs: np.ndarray) -> tuple[np.ndarray, Cache]:
        """Scores [n] of float64 [n, inputs], and what `backward` needs."""
        own = self.parameters
        hidden = np.maximum(inputs @ own["first.weight"].T + own["first.bias"], 0)
        return hidden @ own["last.weight"] + own["last.bias"], (inputs, hidden)

    def backward(self, cache: Cache, d_scores: np.ndarray) -> dict[str, np.ndarray]:
        """The gradients of the parameters, from those of the scores [n]."""
        inputs, hidden = cache
        d_hidden = np.outer(d_scores, self.parameters["last.weight"]) * (hidden > 0)
        return {
            "first.weight": d_hidden.T @ inputs,
            "first.bias": d_hidden.sum(axis=0),
            "last.weight": hidden.T @ d_scores,
            "last.bias": d_scores.sum(),
        }


class Adam:
    """Kingma and Ba 2015, algorithm 1, with the usual constants."""

    def __init__(self, parameters: Parameters, rate: float) -> None:
        self.rate = rate
        self._steps = 0
        self._first = {name: np.zeros(value.shape) for name, value in parameters.items()}
        self._second = dict(self._first)

    def stepped(self, parameters: Parameters, gradients: Parameters) -> dict[str, np.ndarray]:
        """The parameters after a step down these gradients."""
        self._steps += 1
        slow, slower = (1 - decay**self._steps for decay in DECAYS)
        after = {}
        for name, gradient in gradients.items():
            self._first[name] = _averaged(self._first[name], gradient, DECAYS[0])
            self._second[name] = _averaged(self._second[name], gradient**2, DECAYS[1])
            spread = np.sqrt(self._second[name] / slower) + EPSILON
            after[name] = parameters[name] - self.rate * self._first[name] / slow / spread
        return after

    def state(self) -> dict[str, np.ndarray]:
        """The moments and the number of steps."""
        first = {f"adam.first.{name}": value for name, value in self._first.items()}
        second = {f"adam.second.{name}": value for name, value in self._second.items()}
        return {"adam.steps": np.array(self._steps, np.int64), **first, **second}

    def load(self, state: Arrays) -> None:
        """Takes up a state; raises EpisodesError where it does not fit."""
        shapes = {name: value.shape for name, value in self._first.items()}
        first = {name: entry(state, f"adam.first.{name}", shape) for name, shape in shapes.items()}
        second = {
            name: entry(state, f"adam.second.{name}", shape) for name, shape in shapes.items()
        }
        self._steps = int(entry(state, "adam.steps", (), np.int64))
        self._first, self._second = first, second


def _averaged(average: np.ndarray, value: np.ndarray, decay: float) -> np.ndarray:
    return decay * average + (1 - decay) * value
