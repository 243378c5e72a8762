"""A small network with batch normalisation, its tasks, and every rate scheme and algorithm."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainers.algorithms import (
    ANIL,
    BOIL,
    IMAML,
    MAML,
    R2D2,
    Adaptation,
    Algorithm,
    ProtoNet,
    Reptile,
    TNet,
)
from trainers.backbones import Conv4, Module
from trainers.rates import Attenuated, Fixed, Hypergradient, Personalized, RateScheme
from trainers.rates.alfa import Adaptivity, Alfa
from trainers.rates.curvature import MetaCurvature
from trainers.rates.lslr import LSLR
from trainers.rates.lstm import MetaLSTM
from trainers.rates.meta_sgd import MetaSGD
from trainers.rates.pamela import Pamela
from trainers.rates.schedules import Cosine, Linear, Step
from trainers.types import Backbone, ParamInfo, Params, Task

WAY, SHOT, QUERY = 2, 3, 4


def _smooth() -> Backbone:
    """Every role of tensor, and no kink: where one is crossed an inner gradient jumps, and with it
    the outer loss, which then has no slope."""
    body = {
        "conv1": nn.Conv2d(1, 2, 3, stride=2),
        "norm1": nn.BatchNorm2d(2),
        "tanh1": nn.Tanh(),
        "conv2": nn.Conv2d(2, 3, 2),
        "norm2": nn.BatchNorm2d(3),
        "tanh2": nn.Tanh(),
        "flat": nn.Flatten(),
        "hidden": nn.Linear(12, 3),
        "tanh3": nn.Tanh(),
    }
    return _module(**body, head=nn.Linear(3, WAY))


def _without_norm() -> Backbone:
    """No unit of it is ever dead."""
    body = {"hidden1": nn.Linear(3, 4), "tanh1": nn.Tanh(), "hidden2": nn.Linear(4, 4)}
    return _module(**body, tanh2=nn.Tanh(), head=nn.Linear(4, WAY))


def _module(**layers: nn.Module) -> Backbone:
    generator = torch.Generator().manual_seed(0)
    module = nn.Sequential(OrderedDict(layers))
    for name, param in module.named_parameters():
        if not name.startswith("norm"):
            nn.init.uniform_(param, -0.5, 0.5, generator=generator)
    return Module(module)


NETWORK = _smooth()
CONV4 = Conv4(WAY, 1, image_size=16, filters=3)
WITHOUT_NORM = _without_norm()
INPUTS = {NETWORK: (1, 8, 8), CONV4: (1, 16, 16), WITHOUT_NORM: (3,)}

SCHEMES: dict[str, RateScheme] = {
    "fixed": Fixed(0.1),
    "linear": Linear(0.1),
    "step": Step(0.1, every=1),
    "cosine": Cosine(0.1),
    # The support loss is about ln 2: above 0.1, and below 1.5.
    "personalized, lr_min": Personalized(0.1, 0.2),
    "personalized, lr_max - k": Personalized(0.1, 1.0),
    "personalized, attached": Personalized(0.1, 1.0, detach_rate=False),
    "hypergradient": Hypergradient(0.1),
    "meta-sgd": MetaSGD(0.1),
    "lslr": LSLR(0.1),
    "curvature": MetaCurvature(0.1),
    "lstm": MetaLSTM(hidden=3),
    "pamela": Pamela(0.1, interval=1, skip_start=0.3),
    "alfa": Alfa(0.1, weight_decay=0.1),
    "l2f": Attenuated(LSLR(0.1)),
}
"""One form of each scheme, and those of personalized, whose branches are apart."""

_ADAPTIVITY: tuple[Adaptivity, ...] = ("constant", "fixed", "per_step", "per_layer", "generated")
VARIANTS: dict[str, RateScheme] = {
    **{
        f"personalized, {divergence}": Personalized(
            0.1, lr_max, divergence=divergence, detach_rate=False, clamp=0.01
        )
        for divergence, lr_max in (
            ("ce_mean_over_classes", 1.0),
            ("kl_smoothed", 1.0),
            ("kl_clamped", 2.0),
            ("p_no_log", 0.1),
        )
    },
    "personalized, clipped": Personalized(0.1, 1.0, detach_rate=False, clip=True),
    "meta-sgd, uniform": MetaSGD(start="uniform"),
    "pamela, block_end": Pamela(0.1, interval=2, index="block_end", skip_start=0.3),
    "pamela, shared": Pamela(0.1, preconditioning="shared", skips=False),
    "pamela, skips alone": Pamela(0.1, interval=1, preconditioning="none", skip_start=0.3),
    "pamela, relative": Pamela(0.1, relative=True, beyond="last"),
    **{
        f"alfa, {alpha} and {beta}": Alfa(0.1, 0.1, alpha=alpha, beta=beta)
        for alpha, beta in zip(_ADAPTIVITY, reversed(_ADAPTIVITY), strict=True)
    },
    "alfa, weights": Alfa(0.1, 0.1, state="weights"),
    "alfa, gradients": Alfa(0.1, 0.1, state="gradients", generator_layers=2),
    "alfa, random": Alfa(0.1, 0.1, random_init=True),
    "l2f of alfa": Attenuated(Alfa(0.1, 0.1)),
    "l2f of lstm": Attenuated(MetaLSTM(hidden=3)),
    "l2f, attached": Attenuated(Fixed(0.1), detach_embedding=False),
}
"""The other settings of the schemes."""


@dataclass(frozen=True)
class Method:
    """An algorithm, and how it is used."""

    algorithm: Algorithm
    how: dict[str, Any]


def method(algorithm: Algorithm, **how: Any) -> Method:
    return Method(algorithm, how)


PROTOTYPES = {"head_init": "prototypes", "bn": "support"}
METHODS = {
    "maml": method(MAML()),
    "fomaml": method(MAML(), second_order=False),
    "anil": method(ANIL()),
    "anil, first order": method(ANIL(), second_order=False),
    "boil": method(BOIL()),
    "proto-maml": method(MAML(adapt_bn=False), **PROTOTYPES),
    "proto-maml, first order": method(MAML(adapt_bn=False), second_order=False, **PROTOTYPES),
    "t-net": method(TNet()),
    "mt-net": method(TNet(masked=True)),
    "mt-net, first order": method(TNet(masked=True), second_order=False),
}
"""The algorithms that adapt along gradients and differentiate the adapted weights' query loss."""

OPTIONS = {
    "norms fixed": method(MAML(adapt_bn=False)),
    "boil, norms fixed": method(BOIL(adapt_bn=False)),
    "boil, first order": method(BOIL(), second_order=False),
    "support moments": method(MAML(), bn="support"),
    "anil, support moments": method(ANIL(), bn="support"),
    "running moments": method(MAML(), bn="running"),
    "per-step norms": method(MAML(adapt_bn=False), bn="per-step"),
    "zero head": method(MAML(), head_init="zero"),
    "anil, prototypes": method(ANIL(), head_init="prototypes"),
    "multi-step": method(MAML(), query_weights=(0.2, 0.3, 0.5)),
    "fomaml, multi-step": method(MAML(), query_weights=(0.2, 0.3, 0.5), second_order=False),
    "anil, multi-step": method(ANIL(), query_weights=(0.2, 0.3, 0.5)),
    "per-step norms, multi-step": method(
        MAML(adapt_bn=False), bn="per-step", query_weights=(0.2, 0.3, 0.5)
    ),
}
"""What can be combined with them; for three steps."""

WITHOUT_ADAPTATION = {
    "protonet": method(ProtoNet()),
    "protonet, support moments": method(ProtoNet(), bn="support"),
    "r2d2": method(R2D2(ridge_lambda=0.5)),
    "r2d2, support moments": method(R2D2(ridge_lambda=0.5), bn="support"),
}
OUTER_LOSS_OF_THEIR_OWN = {
    "reptile": method(Reptile()),
    "imaml": method(IMAML(proximity=20.0)),
}
"""The algorithms whose outer loss is not one of the adapted weights."""


@dataclass(frozen=True)
class Problem:
    """A method and a scheme, with tensors in float64 away from the symmetric start.

    What the outer loop trains requires gradients; `tasks` have a leading axis.
    """

    algorithm: Algorithm
    how: Adaptation
    params: Params
    meta: Params
    tasks: Task

    def task(self, index: int = 0) -> Task:
        noise = {name: draws[index] for name, draws in self.tasks.noise.items()}
        return Task(*(tensor[index] for tensor in self.tasks[:4]), noise)

    @property
    def leaves(self) -> Params:
        """What the outer loop trains, by name."""
        trained = {name: tensor for name, tensor in self.params.items() if tensor.requires_grad}
        return trained | {f"meta/{name}": tensor for name, tensor in self.meta.items()}

    def with_leaves(self, leaves: Params) -> "Problem":
        params = {name: leaves.get(name, tensor) for name, tensor in self.params.items()}
        return replace(self, params=params, meta={n: leaves[f"meta/{n}"] for n in self.meta})

    def outer_loss(self, index: int = 0) -> Tensor:
        return self.algorithm.run(self.how, self.params, self.meta, self.task(index)).outer_loss


def problem(
    chosen: Method,
    scheme: RateScheme,
    steps: int,
    *,
    backbone: Backbone = NETWORK,
    tasks: int = 1,
    noise: float = 0.03,
) -> Problem:
    """The problem of adapting in `steps` steps to a few random tasks.

    Weights and tasks are the same for all schemes.
    """
    generator = torch.Generator().manual_seed(1)
    how = Adaptation(backbone, scheme, F.cross_entropy, WAY, steps, training=True, **chosen.how)
    infos = backbone.param_infos(chosen.algorithm.adapts)
    adapted = [info for info in infos if info.adapted]

    params = backbone.init(generator)
    if how.bn == "per-step":
        norms = {info.name: info.shape for info in infos if info.role == "norm"}
        params |= {name: params[name].expand(steps, *shape) for name, shape in norms.items()}
    params = _away(params | chosen.algorithm.init(infos, generator), 0.1, generator)
    for info in infos:
        is_trained = chosen.algorithm.trains(info) and (not info.adapted or scheme.trains(info))
        params[info.name].requires_grad_(is_trained)
    drawn = _draw_tasks(chosen.algorithm, backbone, infos, tasks, generator)
    start = scheme.init(adapted, steps, generator)
    meta = _away(start, noise, generator)
    return Problem(chosen.algorithm, how, params, meta, drawn)


def _away(start: Params, noise: float, generator: torch.Generator) -> Params:
    return {
        name: (tensor + noise * torch.randn(tensor.shape, generator=generator))
        .double()
        .requires_grad_()
        for name, tensor in start.items()
    }


def _draw_tasks(
    algorithm: Algorithm,
    backbone: Backbone,
    infos: Sequence[ParamInfo],
    count: int,
    generator: torch.Generator,
) -> Task:
    def inputs(per_class: int) -> Tensor:
        size = (count, WAY * per_class, *INPUTS[backbone])
        return torch.randn(size, generator=generator, dtype=torch.float64)

    def labels(per_class: int) -> Tensor:
        return torch.arange(WAY).repeat_interleave(per_class).expand(count, -1)

    draws = [algorithm.noise(infos, generator) for _ in range(count)]
    noise = {name: torch.stack([draw[name].double() for draw in draws]) for name in draws[0]}
    return Task(inputs(SHOT), labels(SHOT), inputs(QUERY), labels(QUERY), noise)
