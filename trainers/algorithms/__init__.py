"""Algorithms by name."""

from collections.abc import Callable
from functools import partial
from typing import Any

from episodes.errors import unknown_name
from trainers.algorithms.anil import ANIL
from trainers.algorithms.base import Algorithm, TaskResult
from trainers.algorithms.maml import MAML

__all__ = ["ALGORITHMS", "ANIL", "MAML", "Algorithm", "TaskResult", "build"]

ALGORITHMS: dict[str, Callable[..., Algorithm]] = {
    "maml": MAML,
    "fomaml": partial(MAML, second_order=False),
    "anil": ANIL,
}


def build(name: str, **settings: Any) -> Algorithm:
    """The algorithm of that name; `settings` are its fields.

    Raises UsageError where the name is unknown.
    """
    if name not in ALGORITHMS:
        raise unknown_name("algorithm", name, ALGORITHMS)
    return ALGORITHMS[name](**settings)
