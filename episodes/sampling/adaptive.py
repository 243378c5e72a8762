"""The adaptive sampler: a network learns which tasks help, from measures of each.

Source: Wang et al. 2024, "Towards Task Sampler Learning for Meta-Learning", arXiv 2307.08924. The
paper's measures, task weights (2024) and task probabilities (2023); how the network is made and
trained is decided here: by the validation loss after one step ahead.
"""

from dataclasses import dataclass

import numpy as np

from episodes.errors import EpisodesError, UsageError, unknown_name
from episodes.sampling import measures
from episodes.sampling.random_choice import (
    gumbel_top,
    log_probability_gradient,
    softmax,
    softmax_backward,
)
from episodes.sampling.sampler import Arrays, Proposal, Sampler, Selection, TaskSpace, entry
from episodes.sampling.weighting import Adam, Cache, WeightingNetwork

MODES = ("weighting", "sampling")
CRITERIA = {
    "asr": ("diversity", "entropy", "difficulty"),
    "trl4": ("compactness", "separability", "enrichment", "invariance"),
}
OF_FEATURES = {"diversity": measures.diversity, "enrichment": measures.enrichment}
OF_CLASSES = {
    "entropy": measures.entropy,
    "compactness": measures.compactness,
    "separability": measures.separability,
}
GRADIENT_MEASURES = {"difficulty": "gradient_norms", "invariance": "gradient_cosines"}
LEAST_SPREAD = 1e-6
BASELINE_DECAY = 0.9


@dataclass(frozen=True)
class _Pending:
    """What `feedback` needs of the last selection."""

    cache: Cache
    scores: np.ndarray
    chosen: np.ndarray


class Adaptive(Sampler):
    """Weights the tasks of a uniform batch, or draws a batch from a larger pool, as it has learnt.

    In mode "weighting" every one of N = `batch_size` tasks is trained on, weighing N softmax(s / T)
    for scores s and `temperature` T; the gradient of the look-ahead validation loss with respect to
    the N probabilities is wanted back. In mode "sampling" N of `candidates` times N tasks are drawn
    one after another with odds exp(s / T), and the look-ahead validation loss is wanted back, whose
    negative is the reward (REINFORCE, less a moving average). Scores are a network's, which starts
    as all zeros, of the criteria "asr", log(1 + x) of `diversity`, `entropy` and difficulty (the
    gradient norm), or "trl4", minus `compactness`, `separability`, `enrichment` and invariance (the
    gradient cosine), each standardized over the pool; `context` adds their means over the pool.
    Without labels the criteria that need them are left out. `last` holds the last selection's
    "weights" [P] and raw criteria [P] by name. Raises UsageError for settings that make no sense.
    """

    name = "adaptive"

    def __init__(
        self,
        space: TaskSpace,
        batch_size: int,
        seed: int,
        mode: str = "weighting",
        criteria: str = "asr",
        rate: float = 1e-3,
        temperature: float = 1.0,
        candidates: int = 4,
        context: bool = False,
    ) -> None:
        super().__init__(space, batch_size, seed)
        if mode not in MODES:
            raise unknown_name("mode", mode, MODES)
        if criteria not in CRITERIA:
            raise unknown_name("criteria", criteria, CRITERIA)
        if not rate >= 0 or not temperature > 0:
            raise UsageError(
                f"rate {rate}, temperature {temperature}; expected 0 or more, and more than 0"
            )
        if isinstance(candidates, bool) or not isinstance(candidates, int) or candidates < 1:
            raise UsageError(f"candidates is {candidates!r}; expected a whole number of 1 or more")
        self.mode, self.temperature, self.context = mode, temperature, context
        self.pool = batch_size * (candidates if mode == "sampling" else 1)
        self.criteria = tuple(
            name for name in CRITERIA[criteria] if space.classes or name not in OF_CLASSES
        )
        needed = {GRADIENT_MEASURES[name] for name in self.criteria if name in GRADIENT_MEASURES}
        needed |= {"features", "labels"} if space.classes else {"features"}
        self.measures = frozenset(needed)
        wanted = "weight_gradients" if mode == "weighting" else "validation_loss"
        self.feedback_wanted = frozenset({wanted})

        inputs = len(self.criteria) * (2 if context else 1)
        (words,) = self._words("network", 0, 1, WeightingNetwork.words_needed(inputs))
        self._network = WeightingNetwork(inputs, words)
        self._adam = Adam(self._network.parameters, rate)
        self._baseline = np.empty(0)
        self._batch = 0
        self._pending: _Pending | None = None
        self.last: dict[str, np.ndarray] = {}

    def propose(self, batch: int) -> Proposal:
        self._batch, start = batch, batch * self.pool
        return Proposal(self.space.identities(start, self.pool), start)

    def select(self, measured: Arrays) -> Selection:
        raw = _criteria(self.criteria, measured, self.pool)
        outputs, cache = self._network.forward(self._inputs(raw))
        scores = outputs / self.temperature
        odds = np.exp(scores - scores.max())
        weights = self.pool * odds / odds.sum()
        if self.mode == "weighting":
            selection = Selection(np.arange(self.pool), weights)
        else:
            (words,) = self._words("choice", self._batch, 1, self.pool)
            selection = Selection.of(gumbel_top(scores, self.batch_size, words))
        self._pending = _Pending(cache, scores, selection.chosen)
        self.last = {"weights": weights, **raw}
        return selection

    def feedback(self, arrays: Arrays) -> None:
        if self._pending is None:
            raise EpisodesError("the adaptive sampler got feedback before it had selected tasks")
        scores, chosen = self._pending.scores, self._pending.chosen
        if self.mode == "weighting":
            d_weights = entry(arrays, "weight_gradients", (self.batch_size,))
            d_scores = softmax_backward(softmax(scores), d_weights)
        else:
            reward = -entry(arrays, "validation_loss", ())
            baseline = self._baseline[0] if len(self._baseline) else reward
            d_scores = (baseline - reward) * log_probability_gradient(scores, chosen)
        if not np.isfinite(d_scores).all():
            raise EpisodesError("the adaptive sampler's feedback has numbers that are not finite")
        gradients = self._network.backward(self._pending.cache, d_scores / self.temperature)
        self._network.parameters = self._adam.stepped(self._network.parameters, gradients)
        if self.mode == "sampling":
            average = BASELINE_DECAY * baseline + (1 - BASELINE_DECAY) * reward
            self._baseline = np.array([average])
        self._pending = None

    def state(self) -> dict[str, np.ndarray]:
        network = {f"network.{name}": value for name, value in self._network.parameters.items()}
        return {**network, **self._adam.state(), "baseline": self._baseline}

    def load(self, state: Arrays) -> None:
        parameters = {
            name: entry(state, f"network.{name}", value.shape)
            for name, value in self._network.parameters.items()
        }
        baseline = entry(state, "baseline", (None,))
        if len(baseline) > 1:
            raise EpisodesError(f"'baseline' has {len(baseline)} numbers; expected 1 or none")
        self._adam.load(state)
        self._network.parameters, self._baseline, self._pending = parameters, baseline, None

    def _inputs(self, raw: Arrays) -> np.ndarray:
        """float64 [P, inputs], of mean 0 and spread 1 but for the context."""
        columns = np.stack([_scaled(name, values) for name, values in raw.items()], axis=1)
        means = columns.mean(axis=0)
        standard = (columns - means) / np.maximum(columns.std(axis=0), LEAST_SPREAD)
        if self.context:
            return np.hstack((standard, np.broadcast_to(means, standard.shape)))
        return standard


def _criteria(names: tuple[str, ...], measured: Arrays, pool: int) -> dict[str, np.ndarray]:
    """float64 [P] by name, as they are defined; raises EpisodesError where one is no number."""
    features = measures.unit_norm(entry(measured, "features", (pool, None, None)))
    values = {}
    for name in names:
        if name in GRADIENT_MEASURES:
            values[name] = entry(measured, GRADIENT_MEASURES[name], (pool,))
        elif name in OF_CLASSES:
            labels = entry(measured, "labels", features.shape[:2], np.int64)
            values[name] = OF_CLASSES[name](features, labels)
        else:
            values[name] = OF_FEATURES[name](features)
        if not np.isfinite(values[name]).all():
            raise EpisodesError(f"the {name} of a proposed task is not a finite number")
    return values


def _scaled(name: str, values: np.ndarray) -> np.ndarray:
    """As the network is given it."""
    if name in CRITERIA["asr"]:
        return np.log1p(values)
    return -values if name == "compactness" else values
