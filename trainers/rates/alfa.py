"""ALFA: rates and weight decay generated from the task's weights and gradients at each step."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from episodes.errors import UsageError, unknown_name
from trainers.rates.base import InnerStep, RateScheme, State, Update
from trainers.rates.checks import at_least_zero
from trainers.rates.generator import apply_layers, init_layers, tensor_means
from trainers.types import ParamInfo, Params

Adaptivity = Literal["constant", "fixed", "per_step", "per_layer", "generated"]
LearningState = Literal["both", "weights", "gradients"]


@dataclass(frozen=True)
class Alfa(RateScheme):
    """theta' = (1 - decay) * theta - rate * g, a rate and a decay for each of the M adapted tensors
    at each step (ALFA, Baik et al. 2020, eq. 4-7).

    Each of `alpha` (the rates) and `beta` (the decays) is one of

    - `constant`: its initial value, not learned;
    - `fixed`, `per_step`, `per_layer`: learned, one value in all, a step, or a tensor (table 6);
    - `generated`: a learned multiplier a step and a tensor, times an output of the generator.

    The rates begin at `lr`, the decays at lr * weight_decay; generated ones at that times the
    generator's first output, which is small and of either sign. `unit_start` makes it 1: gradient
    descent with decay, exactly. The generator has `generator_layers` linear layers, 2M wide, and
    ReLU between them: three as in the paper and its first code, two as in its later code. It sees
    the mean of each tensor's weights and of its gradients, or one of the two (`state`, table 5).
    The gradients that it sees are constants; the weights are not. The decay is written as in the
    authors' code, one minus a product; eq. 7 prints the product alone.

    With `random_init` the adapted tensors keep their random initial values, as normalisation does,
    and the decay of a tensor is multiplied by a learned tensor of its shape, which begins at lr *
    weight_decay, its other factor at 1. Steps beyond the trained ones take the last one's values.

    Raises UsageError where lr or weight_decay is negative or not finite, or the generator has
    neither 2 nor 3 layers.
    """

    lr: float = 0.01
    weight_decay: float = 5e-4
    alpha: Adaptivity = "generated"
    beta: Adaptivity = "generated"
    state: LearningState = "both"
    generator_layers: int = 3
    random_init: bool = False
    unit_start: bool = False

    def __post_init__(self) -> None:
        for field, known in (
            ("alpha", get_args(Adaptivity)),
            ("beta", get_args(Adaptivity)),
            ("state", get_args(LearningState)),
        ):
            if getattr(self, field) not in known:
                raise unknown_name(f"setting of alfa's {field}", getattr(self, field), known)
        at_least_zero("alfa", lr=self.lr, weight_decay=self.weight_decay)
        if self.generator_layers not in (2, 3):
            raise UsageError(
                f"alfa rate: generator_layers is {self.generator_layers}, expected 2 or 3 "
                "(the paper's network has 3)"
            )

    def init(self, infos: Sequence[ParamInfo], steps: int, generator: torch.Generator) -> Params:
        """`alpha` and `beta`, `[]`, `[steps]`, `[M]` or (generated) `[steps, M]`; `generator/...`;
        and `decay/NAME` of each tensor's shape where the initial values are random."""
        shapes: dict[Adaptivity, tuple[int, ...]] = {
            "fixed": (),
            "per_step": (steps,),
            "per_layer": (len(infos),),
            "generated": (steps, len(infos)),
        }

        def full(shape: tuple[int, ...], value: float) -> Tensor:
            return torch.full(shape, value, device=generator.device)

        meta: Params = {}
        if self.alpha in shapes:
            meta["alpha"] = full(shapes[self.alpha], self.lr)
        if self.beta in shapes:
            meta["beta"] = full(shapes[self.beta], self._initial_beta)
        if self.random_init:
            initial = self.lr * self.weight_decay
            meta |= {f"decay/{info.name}": full(info.shape, initial) for info in infos}
        return meta | self._init_generator(len(infos), generator)

    def trains(self, info: ParamInfo) -> bool:
        """Not what stays as it was drawn: with `random_init`, what adapts and normalisation."""
        return not (self.random_init and (info.adapted or info.role == "norm"))

    def step(self, meta: Params, at: InnerStep, state: State) -> Update:
        """ALFA eq. 4."""
        rates, decays = self.hyperparameters(meta, at)
        params: Params = {}
        for info, rate, decay in zip(at.infos, rates, decays, strict=True):
            if self.random_init:
                decay = meta[f"decay/{info.name}"] * decay
            params[info.name] = (1 - decay) * at.params[info.name] - rate * at.grads[info.name]
        return Update(params, rates)

    def hyperparameters(self, meta: Params, at: InnerStep) -> tuple[Tensor, Tensor]:
        """The rate and the decay of each adapted tensor at this step, `[M]` each (eq. 5 and 7).

        With `random_init` the decay is the factor that the tensor's own decays are multiplied by.
        """
        count = len(at.infos)
        generated = self._generate(meta, at)

        def value(key: str, adaptivity: Adaptivity, initial: float) -> Tensor:
            match adaptivity:
                case "constant":
                    return at.loss.new_full((count,), initial)
                case "fixed" | "per_layer":
                    return meta[key].expand(count)
                case "per_step":
                    return _of_step(meta[key], at.j).expand(count)
            return _of_step(meta[key], at.j) * generated[key]

        return (
            value("alpha", self.alpha, self.lr),
            value("beta", self.beta, self._initial_beta),
        )

    @property
    def _initial_beta(self) -> float:
        return 1.0 if self.random_init else self.lr * self.weight_decay

    @property
    def _generated(self) -> list[str]:
        """What the generator gives, in the order of its outputs."""
        return [key for key in ("alpha", "beta") if getattr(self, key) == "generated"]

    def _init_generator(self, count: int, generator: torch.Generator) -> Params:
        if not self._generated:
            return {}
        inputs = 2 * count if self.state == "both" else count
        hidden = (self.generator_layers - 1) * [2 * count]
        layers = init_layers(
            "generator", [inputs, *hidden, len(self._generated) * count], generator
        )
        if self.unit_start:
            layers[f"generator/{self.generator_layers}.weight"].zero_()
            layers[f"generator/{self.generator_layers}.bias"].fill_(1.0)
        return layers

    def _generate(self, meta: Params, at: InnerStep) -> Params:
        """The generator's outputs, `[M]` each, for the learning state at this step."""
        if not self._generated:
            return {}
        seen = []
        if self.state != "gradients":
            seen.append(tensor_means(at.params, at.infos, at.ways))
        if self.state != "weights":
            seen.append(tensor_means(at.grads, at.infos, at.ways).detach())
        outputs = apply_layers("generator", meta, torch.cat(seen), self.generator_layers)
        return dict(zip(self._generated, outputs.split(len(at.infos)), strict=True))


def _of_step(values: Tensor, j: int) -> Tensor:
    """What step j (from 0) takes of values `[steps, ...]`: beyond the trained steps, the last."""
    return values[min(j, len(values) - 1)]
