"""Reference trainers for gradient-based meta-learning."""

from typing import TYPE_CHECKING, Any

from trainers.config import RunConfig

if TYPE_CHECKING:
    from trainers import rates
    from trainers.algorithms import ANIL, BOIL, IMAML, MAML, R2D2, ProtoNet, Reptile, TNet
    from trainers.api import MetaLearner, adapt
    from trainers.model_files import load
    from trainers.types import Task, tasks_from_batch

__all__ = [
    "ANIL",
    "BOIL",
    "IMAML",
    "MAML",
    "MetaLearner",
    "ProtoNet",
    "R2D2",
    "Reptile",
    "RunConfig",
    "TNet",
    "Task",
    "adapt",
    "load",
    "rates",
    "tasks_from_batch",
]

_HOMES = {
    "load": "trainers.model_files",
    "rates": "trainers.rates",
    "Task": "trainers.types",
    "tasks_from_batch": "trainers.types",
} | dict.fromkeys(("MetaLearner", "adapt"), "trainers.api")


def __getattr__(name: str) -> Any:
    """Names that need torch, which is imported with the first of them."""
    if name not in __all__:
        raise AttributeError(f"module 'trainers' has no attribute {name!r}")
    from importlib import import_module

    home = import_module(_HOMES.get(name, "trainers.algorithms"))
    return home if name == "rates" else getattr(home, name)
