"""A backbone whose convolutions and linear layers compute in a shorter type."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from trainers.types import Backbone, Moments, ParamInfo, Params, Role


@dataclass(frozen=True)
class InBFloat16:
    """`backbone` with features under torch's autocast to bfloat16 on a type of device.

    Parameters, features, the head, normalisation's statistics and all that a rate scheme sees are
    float32.
    """

    backbone: Backbone
    device_type: str

    def init(self, generator: torch.Generator) -> Params:
        """As the backbone's own."""
        return self.backbone.init(generator)

    def param_infos(self, adapts: Callable[[Role], bool]) -> list[ParamInfo]:
        """As the backbone's own."""
        return self.backbone.param_infos(adapts)

    def features(
        self,
        params: Params,
        inputs: Tensor,
        moments: Moments | None = None,
        collect: Moments | None = None,
        rows: Tensor | None = None,
    ) -> Tensor:
        """Features `[n, d]`, float32."""
        # Without the cache of casts: what a transform of functions casts must not outlive it.
        with torch.autocast(self.device_type, torch.bfloat16, cache_enabled=False):
            found = self.backbone.features(params, inputs, moments, collect, rows)
        return found.float()

    def logits(self, params: Params, features: Tensor) -> Tensor:
        """As the backbone's own, in float32."""
        return self.backbone.logits(params, features)
