"""Families of functions that regression tasks are drawn from, as the papers define them."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from math import isfinite, pi
from typing import ClassVar

import numpy as np

from episodes.errors import UsageError
from trainers.tasks.elementary import WORDS_PER_NORMAL, normals, sine

Range = tuple[float, float]


def _range(name: str, bounds: object) -> Range:
    try:
        low, high = map(float, bounds)  # type: ignore[call-overload]
    except (TypeError, ValueError):
        low, high = 1.0, 0.0
    if not (isfinite(low) and isfinite(high) and low <= high):
        raise UsageError(f"{name} is {bounds!r}; expected two finite numbers, the lower one first")
    return low, high


def _between(bounds: Range, draws: np.ndarray) -> np.ndarray:
    low, high = bounds
    return low + (high - low) * draws


def _parameters(ranges: tuple[Range, ...], functions: np.ndarray) -> list[np.ndarray]:
    """The first columns of the draws as parameters [B, 1] in these ranges."""
    columns = functions.T[: len(ranges), :, np.newaxis]
    return [_between(bounds, draws) for bounds, draws in zip(ranges, columns, strict=True)]


@dataclass(frozen=True, kw_only=True)
class Family(ABC):
    """Functions of one number, whose parameters and points are made from uniform draws in [0, 1).

    `noise` is the standard deviation of normal noise on every target; `functions`, if given, the
    number of functions that the training tasks share. A function is a row of `function_draws`
    draws, an input is made from `input_draws`. Fields that are pairs are ranges of uniform draws.
    Raises UsageError for a range that is not two finite numbers in order, and for values under 0.
    """

    noise: float = 0.0
    functions: int | None = None

    function_draws: ClassVar[int]
    input_draws: ClassVar[int]

    def __post_init__(self) -> None:
        if not (isfinite(self.noise) and self.noise >= 0):
            raise UsageError(f"noise is {self.noise!r}; expected a number of 0 or more")
        object.__setattr__(self, "noise", float(self.noise))
        if self.functions is not None and self.functions < 1:
            raise UsageError(f"functions is {self.functions!r}; expected 1 or more, or None")
        for field in fields(self):
            if field.type == Range:
                bounds = getattr(self, field.name)
                object.__setattr__(self, field.name, _range(field.name, bounds))

    @abstractmethod
    def inputs(self, functions: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """float64 [B, n]: inputs of functions [B, function_draws], by draws [B, n, input_draws]."""

    @abstractmethod
    def values(self, functions: np.ndarray, inputs: np.ndarray) -> np.ndarray:
        """float64 [B, n]: the functions [B, function_draws] at inputs [B, n], without noise."""

    def canonical(self) -> str:
        """The family and its settings as one unambiguous line, which enters the random key."""
        settings = {"family": type(self).__name__, **asdict(self)}
        return json.dumps(settings, sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True, kw_only=True)
class Sinusoid(Family):
    """amplitude * sin(frequency * x + phase) + offset, at uniform x.

    The default is MAML's (Finn et al. 2017, section 5.1), whose A * sin(x - phi) with phi in 0..pi
    is a phase in -pi..0.
    """

    amplitude: Range = (0.1, 5.0)
    frequency: Range = (1.0, 1.0)
    phase: Range = (-pi, 0.0)
    offset: Range = (0.0, 0.0)
    domain: Range = (-5.0, 5.0)

    function_draws = 4
    input_draws = 1

    def inputs(self, functions: np.ndarray, draws: np.ndarray) -> np.ndarray:
        return _between(self.domain, draws[..., 0])

    def values(self, functions: np.ndarray, inputs: np.ndarray) -> np.ndarray:
        ranges = (self.amplitude, self.frequency, self.phase, self.offset)
        amplitude, frequency, phase, offset = _parameters(ranges, functions)
        return amplitude * sine(frequency * inputs + phase) + offset


@dataclass(frozen=True, kw_only=True)
class SinusoidLine(Sinusoid):
    """A sinusoid or, as likely, slope * x + intercept (Finn et al. 2018, Probabilistic MAML)."""

    slope: Range = (-3.0, 3.0)
    intercept: Range = (-3.0, 3.0)

    function_draws = 7

    def values(self, functions: np.ndarray, inputs: np.ndarray) -> np.ndarray:
        slope, intercept = _parameters((self.slope, self.intercept), functions[:, 4:])
        line = slope * inputs + intercept
        return np.where(functions[:, 6:] < 0.5, super().values(functions, inputs), line)


@dataclass(frozen=True, kw_only=True)
class Harmonic(Family):
    """a1 * sin(w * x + b1) + a2 * sin(2 * w * x + b2), at x around the task's own centre.

    Lacoste et al. 2018, Uncertainty in Multitask Transfer Learning: a1 and a2 are standard normal,
    x is normal around `centre` with standard deviation 1.
    """

    frequency: Range = (5.0, 7.0)
    phase: Range = (0.0, 2 * pi)
    centre: Range = (-4.0, 4.0)

    function_draws = 8
    input_draws = WORDS_PER_NORMAL

    def inputs(self, functions: np.ndarray, draws: np.ndarray) -> np.ndarray:
        (centre,) = _parameters((self.centre,), functions[:, 7:])
        return centre + normals(draws)

    def values(self, functions: np.ndarray, inputs: np.ndarray) -> np.ndarray:
        first, second = normals(functions[:, :4].reshape(-1, 2, 2)).T[..., np.newaxis]
        ranges = (self.phase, self.phase, self.frequency)
        first_phase, second_phase, frequency = _parameters(ranges, functions[:, 4:])
        angle = frequency * inputs
        return first * sine(angle + first_phase) + second * sine(2 * angle + second_phase)


FAMILIES: Mapping[str, Family] = {
    "sinusoid": Sinusoid(),
    "sinusoid-frequency": Sinusoid(frequency=(0.8, 1.2), phase=(0.0, pi)),
    "sinusoid-480": Sinusoid(
        frequency=(0.5, 2.0),
        phase=(0.0, 0.0),
        offset=(0.0, 2 * pi),
        noise=0.3,
        functions=480,
    ),
    "sinusoid-line": SinusoidLine(),
    "harmonic": Harmonic(functions=5000),
}
"""By name: MAML's waves; those of ALFA (section 4.5) and PAMELA (section 4.2); the noisy ones, of
which training has 480; waves and lines; and harmonics, of which training has 5,000."""
