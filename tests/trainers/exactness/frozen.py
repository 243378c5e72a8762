"""Surrogate problems, in which exactly the terms that a method documents as constants are frozen.

A method that stops gradients follows the derivative of such a surrogate, not of its own outer loss.
The surrogate has the same value at the point where it was made; around it, the frozen terms keep
the values that they had there.
"""

from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

from tests.trainers.exactness.problems import Problem
from trainers.algorithms import Adaptation, TNet
from trainers.inner_loop import Gradients
from trainers.rates import Attenuated, Personalized, RateScheme
from trainers.rates.alfa import Alfa
from trainers.rates.lstm import MetaLSTM
from trainers.types import Params


class Tape:
    """Constants in the order of their use: the first run notes them, later runs are given them."""

    def __init__(self) -> None:
        self._values: list[Tensor] = []
        self._next = 0

    def rewind(self) -> None:
        """Begin another run."""
        self._next = 0

    def constant(self, live: Tensor) -> Tensor:
        if self._next == len(self._values):
            self._values.append(live.detach().clone())
        self._next += 1
        return self._values[self._next - 1]

    def constants(self, live: Params) -> Params:
        return {name: self.constant(tensor) for name, tensor in live.items()}


class Surrogate:
    """The outer loss of a problem as a function of what the outer loop trains."""

    def __init__(self, problem: Problem, *, freezes: bool = True) -> None:
        self.tape = Tape()
        self._problem = self._frozen(problem) if freezes else problem
        self.value = self(problem.leaves)

    def __call__(self, leaves: Params) -> float:
        self.tape.rewind()
        return self._problem.with_leaves(leaves).outer_loss().item()

    def _frozen(self, problem: Problem) -> Problem:
        how = replace(problem.how, scheme=_freeze_scheme(problem.how.scheme, self.tape))
        if not how.second_order:
            how = _taped(FirstOrder, how, self.tape)
        algorithm = problem.algorithm
        if isinstance(algorithm, TNet) and algorithm.masked:
            algorithm = _taped(SmoothMasks, algorithm, self.tape)
        return replace(problem, how=how, algorithm=algorithm)


@dataclass(frozen=True)
class FirstOrder(Adaptation):
    """The gradients of the support loss are constants; rates and masks that multiply them live."""

    tape: Tape = field(default_factory=Tape)

    def differentiate(self):
        live = super().differentiate()

        def differentiate(support, params: Params) -> Gradients:
            grads, at = live(support, params)
            return Gradients(self.tape.constants(grads), at)

        return differentiate


@dataclass(frozen=True)
class DetachedRate(Personalized):
    """The divergence, and so the rate, is a constant."""

    tape: Tape = field(default_factory=Tape)

    def measure(self, logits: Tensor, targets: Tensor) -> Tensor:
        return self.tape.constant(super().measure(logits, targets))


@dataclass(frozen=True)
class DetachedState(Alfa):
    """The gradients that the generator sees are constants; those of the update live."""

    tape: Tape = field(default_factory=Tape)

    def hyperparameters(self, meta: Params, at) -> tuple[Tensor, Tensor]:
        return super().hyperparameters(meta, replace(at, grads=self.tape.constants(at.grads)))


@dataclass(frozen=True)
class DetachedInputs(MetaLSTM):
    """Losses and gradients are constants."""

    tape: Tape = field(default_factory=Tape)

    def step(self, meta: Params, at, state):
        loss, grads = self.tape.constant(at.loss), self.tape.constants(at.grads)
        return super().step(meta, replace(at, loss=loss, grads=grads), state)


@dataclass(frozen=True)
class DetachedEmbedding(Attenuated):
    """The gradients at the start, of which the attenuation is made, are constants."""

    tape: Tape = field(default_factory=Tape)

    def prepare(self, meta: Params, params: Params, support_grads):
        return super().prepare(meta, params, lambda: self.tape.constants(support_grads()))


@dataclass(frozen=True)
class SmoothMasks(TNet):
    """Masks that are 0 or 1 at the point, and move from there as the sigmoid of the logit does."""

    tape: Tape = field(default_factory=Tape)

    def gradient_masks(self, infos, params: Params, task) -> Params:
        masks = {}
        for info in infos:
            if info.adapted and info.role != "norm":
                logit, noise = params[f"mask_logit/{info.module}"], task.noise[info.module]
                there = torch.sigmoid(self.tape.constant(logit) + noise)
                moved = torch.sigmoid(logit + noise) - there
                mask = torch.where(there > 0.5, 1.0, 0.0) + moved
                masks[info.name] = mask.reshape(-1, *[1] * (len(info.shape) - 1))
        return masks


def _freeze_scheme(scheme: RateScheme, tape: Tape) -> RateScheme:
    match scheme:
        case Personalized(detach_rate=True):
            return _taped(DetachedRate, scheme, tape)
        case Alfa():
            return _taped(DetachedState, scheme, tape)
        case MetaLSTM():
            return _taped(DetachedInputs, scheme, tape)
        case Attenuated(scheme=inner):
            within = replace(scheme, scheme=_freeze_scheme(inner, tape))
            return _taped(DetachedEmbedding, within, tape) if scheme.detach_embedding else within
    return scheme


def _taped(kind: type, of: Any, tape: Tape) -> Any:
    """`of` as an instance of `kind`, with its settings."""
    return kind(**{f.name: getattr(of, f.name) for f in fields(of)}, tape=tape)
