"""Backbones by name."""

from collections.abc import Callable
from typing import Any

from episodes.errors import unknown_name
from trainers.backbones.conv4 import Conv4
from trainers.types import Backbone

__all__ = ["BACKBONES", "Conv4", "build"]

BACKBONES: dict[str, Callable[..., Backbone]] = {"conv4": Conv4}


def build(name: str, **settings: Any) -> Backbone:
    """The backbone of that name; `settings` are its fields.

    Raises UsageError where the name is unknown or a setting out of range.
    """
    if name not in BACKBONES:
        raise unknown_name("backbone", name, BACKBONES)
    return BACKBONES[name](**settings)
