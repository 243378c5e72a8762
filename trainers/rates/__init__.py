"""Rate schemes by name."""

from collections.abc import Callable
from typing import Any

from episodes.errors import unknown_name
from trainers.rates.base import RateScheme, State
from trainers.rates.fixed import Fixed
from trainers.rates.personalized import Personalized

__all__ = ["SCHEMES", "Fixed", "Personalized", "RateScheme", "State", "build"]

SCHEMES: dict[str, Callable[..., RateScheme]] = {"fixed": Fixed, "personalized": Personalized}


def build(name: str, **settings: Any) -> RateScheme:
    """The rate scheme of that name; `settings` are its fields.

    Raises UsageError where the name is unknown or a setting out of range.
    """
    if name not in SCHEMES:
        raise unknown_name("rate scheme", name, SCHEMES)
    return SCHEMES[name](**settings)
