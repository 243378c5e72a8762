"""L2F: each task forgets a part of the initial weights before its first step."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from episodes.errors import UsageError
from trainers.rates.base import InnerStep, RateScheme, State, Update
from trainers.rates.generator import apply_layers, init_layers, tensor_means
from trainers.types import ParamInfo, Params

PREFIX = "attenuation"


@dataclass(frozen=True)
class Attenuated(RateScheme):
    """theta_0 <- gamma * theta_0, then `scheme`; one gamma in (0, 1) for each of the M adapted
    tensors (L2F, Baik, Hong and Lee 2020).

    gamma is the sigmoid of two linear layers, M wide with ReLU between them, of the mean of each
    tensor's support gradient at theta_0. These means are constants, as in the authors' L2F code;
    `detach_embedding=False` lets the outer gradient through them in second order, as in their ALFA
    code. gamma begins near 1/2. A `scheme` that asks for support gradients before the first step
    gets those before attenuation. The meta-parameters of `scheme` keep their names.

    Raises UsageError where `scheme` is attenuated itself.
    """

    scheme: RateScheme
    detach_embedding: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.scheme, Attenuated):
            raise UsageError("attenuation: the scheme is attenuated already, wrap it once")

    def init(self, infos: Sequence[ParamInfo], steps: int, generator: torch.Generator) -> Params:
        """`attenuation/...` (2 M^2 + 2 M numbers) and the scheme's own."""
        count = len(infos)
        return init_layers(PREFIX, (count, count, count), generator) | self.scheme.init(
            infos, steps, generator
        )

    def trains(self, info: ParamInfo) -> bool:
        """As the scheme says."""
        return self.scheme.trains(info)

    def prepare(
        self, meta: Params, params: Params, support_grads: Callable[[], Params]
    ) -> tuple[Params, State]:
        """The attenuated weights, prepared by the scheme."""
        embedding = tensor_means(support_grads())
        if self.detach_embedding:
            embedding = embedding.detach()
        gammas = torch.sigmoid(apply_layers(PREFIX, meta, embedding, layers=2))
        attenuated = {
            name: gamma * param for gamma, (name, param) in zip(gammas, params.items(), strict=True)
        }
        return self.scheme.prepare(meta, attenuated, support_grads)

    def step(self, meta: Params, at: InnerStep, state: State) -> Update:
        """A step of the scheme."""
        return self.scheme.step(meta, at, state)
