"""Rate schemes by name."""

from collections.abc import Callable
from typing import Any

from episodes.errors import unknown_name
from trainers.rates.alfa import Alfa
from trainers.rates.attenuation import Attenuated
from trainers.rates.base import InnerStep, RateScheme, State, Update
from trainers.rates.curvature import MetaCurvature
from trainers.rates.fixed import Fixed
from trainers.rates.hypergradient import Hypergradient
from trainers.rates.lslr import LSLR
from trainers.rates.lstm import MetaLSTM
from trainers.rates.meta_sgd import MetaSGD
from trainers.rates.pamela import Pamela
from trainers.rates.personalized import Personalized
from trainers.rates.schedules import Cosine, Linear, Step

__all__ = [
    "LSLR",
    "SCHEMES",
    "Alfa",
    "Attenuated",
    "Cosine",
    "Fixed",
    "Hypergradient",
    "InnerStep",
    "Linear",
    "MetaCurvature",
    "MetaLSTM",
    "MetaSGD",
    "Pamela",
    "Personalized",
    "RateScheme",
    "State",
    "Step",
    "Update",
    "build",
]

SCHEMES: dict[str, Callable[..., RateScheme]] = {
    "none": Fixed,
    "fixed": Fixed,
    "personalized": Personalized,
    "linear": Linear,
    "step": Step,
    "cosine": Cosine,
    "lslr": LSLR,
    "meta-sgd": MetaSGD,
    "alfa": Alfa,
    "pamela": Pamela,
    "hypergradient": Hypergradient,
    "lstm": MetaLSTM,
    "curvature": MetaCurvature,
}


def build(name: str, **settings: Any) -> RateScheme:
    """The rate scheme of that name; `settings` are its fields.

    Raises UsageError where the name is unknown or a setting out of range.
    """
    if name not in SCHEMES:
        raise unknown_name("rate scheme", name, SCHEMES)
    return SCHEMES[name](**settings)
