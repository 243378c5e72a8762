"""All that the outer loop changes: weights, meta-parameters, the optimiser, and its position."""

from dataclasses import asdict, dataclass, field
from math import isnan
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from episodes.errors import EpisodesError
from episodes.sampling import Sampler
from trainers import checkpoint
from trainers.config import RunConfig
from trainers.learner import Learner
from trainers.outer_optimizer import OuterOptimizer
from trainers.types import Params

SAMPLER = "sampler/"


@dataclass
class Position:
    """Where a run is: its state that is not a tensor.

    `iteration` outer steps are done; `validated` is the last iteration that was validated; `best`
    holds (validation figure, iteration) of the kept checkpoints, best first; `metrics_bytes` is
    the length of metrics.jsonl; `skipped` outer steps were left out, as they were not finite;
    `seconds` is the time spent so far.
    """

    iteration: int = 0
    validated: int | None = None
    best: list[tuple[float, int]] = field(default_factory=list)
    metrics_bytes: int = 0
    skipped: int = 0
    seconds: float = 0.0

    def add_validation(self, figure: float, keep_top: int, is_higher_better: bool) -> bool:
        """Note this iteration's validation; whether it is among the best `keep_top`.

        Of equal figures the earlier iteration is the better one; one that is no number is the
        worst.
        """
        self.validated = self.iteration
        sign = -1 if is_higher_better else 1
        candidates = [*self.best, (figure, self.iteration)]
        ranked = sorted(candidates, key=lambda kept: (isnan(kept[0]), sign * kept[0], kept[1]))
        self.best = ranked[:keep_top]
        return self.best != [kept for kept in self.best if kept[1] != self.iteration]


class OuterState:
    """The weights and meta-parameters of a run, their optimiser, the sampler, and the position."""

    def __init__(self, config: RunConfig, learner: Learner, sampler: Sampler | None = None) -> None:
        """The state before the first iteration."""
        self.config, self._sampler = config, sampler
        self.params, self.meta = learner.initial(config.seed)
        self.tensors = named(self.params, self.meta)
        self.trained = {name: t for name, t in self.tensors.items() if t.requires_grad}
        self.optimizer = OuterOptimizer(self.trained, config)
        self.position = Position()

    def save(self, path: Path) -> None:
        """Write a checkpoint."""
        state = {
            "position": asdict(self.position),
            "config": self.config.digest(),
        }
        checkpoint.save(path, self.tensors | self.optimizer.state() | self._sampled(), state)

    def load(self, path: Path, advice: str) -> None:
        """Continue from a checkpoint.

        Raises EpisodesError, ending in `advice`, where it is damaged or belongs to other settings.
        """
        tensors, state = _load(path, advice, self.config)
        _fill(self.tensors, tensors, path)
        self.optimizer.load(tensors)
        if self._sampler is not None:
            own = {
                n.removeprefix(SAMPLER): t.numpy()
                for n, t in tensors.items()
                if n.startswith(SAMPLER)
            }
            self._sampler.load(own)
        self.position = _position(state)

    def _sampled(self) -> dict[str, Tensor]:
        state = {} if self._sampler is None else self._sampler.state()
        return {SAMPLER + name: torch.as_tensor(array).clone() for name, array in state.items()}


def load_weights(
    path: Path, advice: str, config: RunConfig, learner: Learner
) -> tuple[Params, Params]:
    """Weights and meta-parameters of a checkpoint; raises EpisodesError as `OuterState.load`."""
    tensors, _ = _load(path, advice, config)
    return weights_among(tensors, path, config.seed, learner)


def weights_among(
    tensors: dict[str, Tensor], path: Path, seed: int, learner: Learner
) -> tuple[Params, Params]:
    """The learner's weights and meta-parameters among the tensors of `path`; raises EpisodesError
    where one is missing."""
    params, meta = learner.initial(seed)
    _fill(named(params, meta), tensors, path)
    return params, meta


def read_position(path: Path, advice: str, config: RunConfig) -> Position:
    """The position that a checkpoint was written at; raises EpisodesError as `OuterState.load`."""
    _, state = _load(path, advice, config)
    return _position(state)


def _load(path: Path, advice: str, config: RunConfig) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors, state = checkpoint.load(path, advice)
    if state["config"] != config.digest():
        raise EpisodesError(f"{path}: written under other settings than config.toml's: {advice}")
    return tensors, state


def _fill(targets: dict[str, Tensor], tensors: dict[str, Tensor], path: Path) -> None:
    """Copy `tensors` into the `targets` of the same names, whose memory layout stays."""
    with torch.no_grad():
        for name, target in targets.items():
            if name not in tensors or tensors[name].shape != target.shape:
                raise EpisodesError(
                    f"{path}: no tensor {name} of shape {tuple(target.shape)}: "
                    "use the version that it was written with, or begin a new run"
                )
            target.copy_(tensors[name])


def _position(state: dict[str, Any]) -> Position:
    position = Position(**state["position"])
    position.best = [(figure, iteration) for figure, iteration in position.best]
    return position


def named(params: Params, meta: Params) -> dict[str, Tensor]:
    """Weights and meta-parameters as a checkpoint names them."""
    weights = {f"params/{name}": tensor for name, tensor in params.items()}
    return weights | {f"meta/{name}": tensor for name, tensor in meta.items()}
