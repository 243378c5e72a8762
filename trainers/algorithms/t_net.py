"""T-Net and MT-Net: learned transformations after each layer, and masks on what adapts."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from trainers.algorithms.maml import MAML
from trainers.types import ParamInfo, Params, Task

TRANSFORM, LOGIT = "transform/", "mask_logit/"


@dataclass(frozen=True)
class TNet(MAML):
    """A learned square matrix T after each layer, which no inner step changes (Lee and Choi 2018).

    T (W x + b) = (T W) x + T b, so the network is passed with T W and T b, while W and b adapt. T
    starts as the identity. With `masked` it is MT-Net: an output channel's weights and bias adapt
    in a task with probability sigmoid(logit), drawn once a task; the logit, 0 at the start, learns
    by the straight-through Gumbel-softmax at temperature 1.
    """

    masked: bool = False

    def init(self, infos: Sequence[ParamInfo], generator: torch.Generator) -> Params:
        """A matrix `[out, out]` for each layer, and a logit `[out]` for each where masked."""
        sizes = {info.module: info.shape[0] for info in layers(infos)}
        device = generator.device
        start = {TRANSFORM + module: torch.eye(out, device=device) for module, out in sizes.items()}
        if self.masked:
            logits = {
                LOGIT + module: torch.zeros(out, device=device) for module, out in sizes.items()
            }
            start |= logits
        return start

    def effective(self, params: Params) -> Params:
        """Each layer's weight and bias under its T."""
        transformed = {}
        for name, matrix in params.items():
            if name.startswith(TRANSFORM):
                module = name.removeprefix(TRANSFORM)
                for own in (f"{module}.weight", f"{module}.bias"):
                    if own in params:
                        tensor = params[own]
                        transformed[own] = (
                            (matrix @ tensor.flatten(1)).view_as(tensor)
                            if tensor.dim() > 1
                            else matrix @ tensor
                        )
        return params | transformed

    @property
    def draws_noise(self) -> bool:
        """Where masked."""
        return self.masked

    def noise(self, infos: Sequence[ParamInfo], generator: torch.Generator) -> Params:
        """A logistic draw `[out]` for each masked layer: the difference of two Gumbel draws."""
        if not self.masked:
            return {}
        return {
            info.module: torch.rand(info.shape[0], generator=generator).logit(eps=1e-6)
            for info in layers(infos)
        }

    def gradient_masks(self, infos: Sequence[ParamInfo], params: Params, task: Task) -> Params:
        """0 or 1 for each output channel, in the shape of the tensors that it multiplies."""
        if not self.masked:
            return {}
        masks = {}
        for info in infos:
            if info.adapted and LOGIT + info.module in params:
                soft = torch.sigmoid(params[LOGIT + info.module] + task.noise[info.module])
                mask = (soft > 0.5).to(soft.dtype) + soft - soft.detach()
                masks[info.name] = mask.view(-1, *[1] * (len(info.shape) - 1))
        return masks


def layers(infos: Sequence[ParamInfo]) -> list[ParamInfo]:
    """The weights of convolutions, of fully connected layers, and of the head."""
    return [info for info in infos if info.name.endswith("weight") and info.role != "norm"]
