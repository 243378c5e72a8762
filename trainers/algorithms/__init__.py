"""Algorithms by name."""

from collections.abc import Callable
from functools import partial
from typing import Any

from episodes.errors import unknown_name
from trainers.algorithms.anil import ANIL
from trainers.algorithms.base import Algorithm, TaskResult
from trainers.algorithms.boil import BOIL
from trainers.algorithms.imaml import IMAML
from trainers.algorithms.maml import MAML
from trainers.algorithms.passes import Adaptation
from trainers.algorithms.protonet import ProtoNet
from trainers.algorithms.r2d2 import R2D2
from trainers.algorithms.reptile import Reptile
from trainers.algorithms.t_net import TNet

__all__ = [
    "ALGORITHMS",
    "ANIL",
    "BOIL",
    "IMAML",
    "MAML",
    "R2D2",
    "Adaptation",
    "Algorithm",
    "ProtoNet",
    "Reptile",
    "TNet",
    "TaskResult",
    "build",
]

ALGORITHMS: dict[str, Callable[..., Algorithm]] = {
    "maml": MAML,
    "fomaml": MAML,
    "anil": ANIL,
    "boil": BOIL,
    "reptile": Reptile,
    "protonet": ProtoNet,
    "proto-maml": MAML,
    "imaml": IMAML,
    "r2d2": R2D2,
    "t-net": TNet,
    "mt-net": partial(TNet, masked=True),
}


def build(name: str, **settings: Any) -> Algorithm:
    """The algorithm of that name; `settings` are its fields.

    Raises UsageError where the name is unknown.
    """
    if name not in ALGORITHMS:
        raise unknown_name("algorithm", name, ALGORITHMS)
    return ALGORITHMS[name](**settings)
