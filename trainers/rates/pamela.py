"""PAMELA: learned preconditioners of each step, and skips that bring earlier weights back."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Literal, get_args

import torch
from torch import Tensor

from episodes.errors import UsageError, unknown_name
from trainers.rates.base import InnerStep, RateScheme, State, Update
from trainers.rates.checks import above_zero, one_or_more
from trainers.types import ParamInfo, Params

Preconditioning = Literal["per_step", "shared", "none"]
SkipIndex = Literal["after", "block_end"]
Beyond = Literal["fixed", "last"]


@dataclass(frozen=True)
class Pamela(RateScheme):
    """theta' = theta - Q_j * g, every `interval` steps mixed with earlier weights: (1 - P) * theta'
    + P * theta_earlier (PAMELA, Rajasegaran et al. 2020, eq. 5).

    Q holds one rate for each output filter of a convolution, used for its bias and the following
    normalisation as well, and one for each weight of a fully connected layer, whose bias keeps the
    rate `lr`. P is one number a module and skip. These sizes give the paper's count of parameters.

    The paper leaves open which steps mix, and the initial values. With n = 5 steps and interval w =
    2, `index`

    - `after` mixes theta_0 into theta_3 and theta_2 into theta_5: eq. 5 where theta_{j-w} exists;
    - `block_end` mixes theta_0 into theta_2 and theta_2 into theta_4: theta_{j-w} into theta_j.

    Q begins at `lr`, or with `relative` at 1, times `lr`, which slows it down: a step of Adam at
    1e-3 is a tenth of a rate of .01, and has made training on sinusoids diverge. P begins at
    `skip_start`, 0 for none, so that the first inner loop is that of MAML. `preconditioning` is a Q
    of each step, one `shared` by all, or `none`; `skips=False` leaves out P. Steps beyond the
    trained ones do not skip, and take the rate `lr` (`beyond="fixed"`) or the last Q (`"last"`).

    Raises UsageError where lr is not positive, skip_start not finite, or interval below 1.
    """

    lr: float = 0.01
    preconditioning: Preconditioning = "per_step"
    skips: bool = True
    interval: int = 2
    index: SkipIndex = "after"
    relative: bool = False
    skip_start: float = 0.0
    beyond: Beyond = "fixed"

    def __post_init__(self) -> None:
        for field, known in (
            ("preconditioning", get_args(Preconditioning)),
            ("index", get_args(SkipIndex)),
            ("beyond", get_args(Beyond)),
        ):
            if getattr(self, field) not in known:
                raise unknown_name(f"setting of pamela's {field}", getattr(self, field), known)
        above_zero("pamela", lr=self.lr)
        one_or_more("pamela", interval=self.interval)
        if not isfinite(self.skip_start):
            raise UsageError(
                f"pamela rate: skip_start is {self.skip_start}, expected a finite number"
            )

    def init(self, infos: Sequence[ParamInfo], steps: int, generator: torch.Generator) -> Params:
        """`rate/NAME` (Q), `[steps, filters]` or `[steps, *shape]`, and `skip/MODULE` (P).

        The first axis of a shared Q is 1; P is one number a skip.
        """

        def full(shape: tuple[int, ...], value: float) -> Tensor:
            return torch.full(shape, value, device=generator.device)

        meta: Params = {}
        if self.preconditioning != "none":
            rows = steps if self.preconditioning == "per_step" else 1
            start = 1.0 if self.relative else self.lr
            for info in infos:
                if len(info.shape) > 1:
                    shape = info.shape[:1] if info.role == "conv" else info.shape
                    meta[f"rate/{info.name}"] = full((rows, *shape), start)
        count = (steps if self.index == "block_end" else steps - 1) // self.interval
        if self.skips and count > 0:
            modules = dict.fromkeys(info.module for info in infos)
            meta |= {f"skip/{module}": full((count,), self.skip_start) for module in modules}
        return meta

    def step(self, meta: Params, at: InnerStep, state: State) -> Update:
        """PAMELA eq. 5; `state` holds the weights that the next skip brings back."""
        rates = self._rates(meta, at)
        means = torch.stack([rate.mean() for rate in rates.values()])
        params = {name: at.params[name] - rate * at.grads[name] for name, rate in rates.items()}
        if not self.skips:
            return Update(params, means)
        kept = at.params if at.j % self.interval == 0 else state
        if self.index == "block_end":
            params = self._mix(meta, at.infos, params, kept, at.j + 1)
        else:
            params = self._mix(meta, at.infos, params, state, at.j)
        return Update(params, means, kept)

    def _mix(
        self, meta: Params, infos: Sequence[ParamInfo], params: Params, earlier: Params, due: int
    ) -> Params:
        """The weights, mixed with `earlier` ones where `due` is a multiple of the interval.

        Skips beyond the trained ones are left out.
        """
        number, rest = divmod(due, self.interval)
        mixed = dict(params)
        for info in infos:
            skips = meta.get(f"skip/{info.module}")
            if rest == 0 and skips is not None and 1 <= number <= len(skips):
                p = skips[number - 1]
                mixed[info.name] = (1 - p) * params[info.name] + p * earlier[info.name]
        return mixed

    def _rates(self, meta: Params, at: InnerStep) -> Params:
        """The rates of each tensor at this step, of shapes that broadcast over it."""
        rates: Params = {}
        for info, owner in zip(at.infos, _rate_owners(at.infos), strict=True):
            q = self._preconditioner(meta, owner, at.j) if owner else None
            if q is None:
                q = at.loss.new_full((), self.lr)
            elif len(info.shape) > q.ndim:
                q = q.reshape(-1, *(len(info.shape) - 1) * [1])
            rates[info.name] = q
        return rates

    def _preconditioner(self, meta: Params, name: str, j: int) -> Tensor | None:
        """The Q of step j, as rates; None where there is none."""
        rows = meta.get(f"rate/{name}")
        if rows is None:
            return None
        if j >= len(rows):
            if self.preconditioning == "per_step" and self.beyond == "fixed":
                return None
            j = len(rows) - 1
        return self.lr * rows[j] if self.relative else rows[j]


def _rate_owners(infos: Sequence[ParamInfo]) -> list[str | None]:
    """The tensor whose Q each tensor takes: a filter's serves its bias and its normalisation."""
    owners: list[str | None] = []
    conv: ParamInfo | None = None
    for info in infos:
        if len(info.shape) > 1:
            conv = info if info.role == "conv" else None
            owners.append(info.name)
        elif (
            conv is not None
            and info.shape == conv.shape[:1]
            and (info.role == "norm" or info.module == conv.module)
        ):
            owners.append(conv.name)
        else:
            owners.append(None)
    return owners
