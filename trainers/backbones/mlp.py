"""MLP: fully connected layers, for regression and for small images, as pure functions."""

from dataclasses import dataclass
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor

from episodes.errors import UsageError
from trainers.backbones import layers
from trainers.backbones.layers import Layer, Layered, WeightInit, tensors
from trainers.types import Moments, Params

LARGEST_WIDTH = 65_536


@dataclass(frozen=True)
class MLP(Layered):
    """Fully connected layers of `hidden` widths with ReLU, then a linear head.

    The default is the network of the sinusoid tasks (Finn et al. 2017, section 5.1), started as
    torch does unless `weight_init` is `xavier`. `outputs` are predicted values, or the way of a
    classifier. Without hidden layers it is linear, or logistic, regression. Its ReLU layers have no
    normalisation, so it has no moments.

    Raises UsageError where a field is out of range.
    """

    inputs: int
    outputs: int
    hidden: tuple[int, ...] = (40, 40)
    weight_init: WeightInit = "torch"

    def __post_init__(self) -> None:
        layers.check_weight_init(self.weight_init)
        layers.check_at_least(self, "mlp", {"inputs": 1, "outputs": 1})
        if any(width < 1 for width in self.hidden):
            raise UsageError(f"mlp: hidden widths {self.hidden}, expected each at least 1")

    @property
    def feature_count(self) -> int:
        """Features per input: the width of the last hidden layer."""
        return (self.inputs, *self.hidden)[-1]

    def features(
        self,
        params: Params,
        inputs: Tensor,
        moments: Moments | None = None,
        collect: Moments | None = None,
        rows: Tensor | None = None,
    ) -> Tensor:
        """Features `[n, feature_count]` of inputs `[n, ...]`, flattened to `[n, inputs]`.

        `moments`, `collect` and `rows` stay unused. Raises UsageError where the inputs' size is
        another.
        """
        values = inputs.flatten(1)
        if values.shape[1] != self.inputs:
            raise UsageError(
                f"mlp: inputs of {values.shape[1]} values given, expected {self.inputs}: "
                f"use tasks of the shape that the backbone was built for"
            )
        for layer in self.layers()[:-1]:
            values = F.relu(F.linear(values, *tensors(params, layer.name)))
        return values

    def layers(self) -> list[Layer]:
        """The hidden layers and the head."""
        hidden = [
            Layer(f"hidden{number}", "linear", (width, inputs))
            for number, (inputs, width) in enumerate(pairwise((self.inputs, *self.hidden)), 1)
        ]
        return [*hidden, Layer("head", "head", (self.outputs, self.feature_count))]


def parse_widths(text: str) -> tuple[int, ...]:
    """The widths that `40,40` means; raises UsageError for anything else."""
    parts = text.split(",")
    if not all(part.strip().isdecimal() and 0 < int(part) <= LARGEST_WIDTH for part in parts):
        raise UsageError(
            f"mlp: hidden widths {text!r}, expected numbers of 1 to {LARGEST_WIDTH} as in '40,40'"
        )
    return tuple(int(part) for part in parts)
