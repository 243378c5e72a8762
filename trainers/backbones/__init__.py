"""Backbones by name."""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from episodes.errors import UsageError, unknown_name
from trainers.backbones.conv4 import Conv4
from trainers.backbones.mlp import MLP, parse_widths
from trainers.backbones.module import Module
from trainers.backbones.resnet12 import ResNet12
from trainers.types import Backbone

__all__ = ["BACKBONES", "MLP", "Conv4", "Module", "ResNet12", "build", "for_shape"]

BACKBONES: dict[str, Callable[..., Backbone]] = {"conv4": Conv4, "resnet12": ResNet12, "mlp": MLP}


def build(name: str, **settings: Any) -> Backbone:
    """The backbone of that name; `settings` are its fields.

    Raises UsageError where the name is unknown or a setting out of range.
    """
    if name not in BACKBONES:
        raise unknown_name("backbone", name, BACKBONES)
    return BACKBONES[name](**settings)


def for_shape(name: str, shape: Sequence[int], outputs: int, **settings: Any) -> Backbone:
    """The backbone of that name for inputs of `shape` and `outputs` values or classes.

    `shape` is (channels, height, width), or (values,) for vectors, which only `mlp` takes.
    `settings` are the remaining fields; `hidden` may be text, as in "40,40". Raises UsageError
    where the backbone is unknown, cannot take such inputs, or a setting is out of range.
    """
    if name == "mlp":
        if isinstance(settings.get("hidden"), str):
            settings["hidden"] = parse_widths(settings["hidden"])
        return build(name, inputs=prod(shape), outputs=outputs, **settings)
    if name in BACKBONES and (len(shape) != 3 or shape[1] != shape[2]):
        raise UsageError(
            f"{name}: inputs of shape {tuple(shape)}, expected square images: use backbone mlp"
        )
    channels, size = shape[0], shape[-1]
    return build(name, way=outputs, in_channels=channels, image_size=size, **settings)
