"""Ranks of methods over sources of tasks, as Meta-Dataset counts them."""

from collections.abc import Sequence
from math import hypot
from typing import NamedTuple


class Measured(NamedTuple):
    """A method's mean on a source, and half the width of its 95 % interval."""

    mean: float
    interval: float


def ranks(measured: Sequence[Measured]) -> list[float]:
    """The rank of each method on one source, 1 the best; those that tie share the mean rank.

    The best of the methods that are left ties with all whose mean lies within the 95 % interval of
    the difference, sqrt(a^2 + b^2) for intervals a and b; they are taken out, and so on. Source:
    Triantafillou et al. 2020, Meta-Dataset, the procedure of its leaderboard.
    """
    left = sorted(range(len(measured)), key=lambda i: -measured[i].mean)
    found = [0.0] * len(measured)
    taken = 0
    while left:
        best = measured[left[0]]
        tied = [i for i in left if ties(best, measured[i])]
        for i in tied:
            found[i] = taken + (len(tied) + 1) / 2
        taken += len(tied)
        left = [i for i in left if i not in tied]
    return found


def ties(one: Measured, other: Measured) -> bool:
    """Whether the difference of the means is within its 95 % interval."""
    return abs(one.mean - other.mean) <= hypot(one.interval, other.interval)
