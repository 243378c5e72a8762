"""Meta-LSTM: an LSTM whose cell is the weights chooses a rate and a decay for each of them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import exp, prod

import torch
import torch.nn.functional as F
from torch import Tensor

from trainers.rates import checks
from trainers.rates.base import InnerStep, RateScheme, State, Update
from trainers.types import ParamInfo, Params

INPUTS = 4
GATES = 4


@dataclass(frozen=True)
class MetaLSTM(RateScheme):
    """c' = sigmoid(f) * c - sigmoid(i) * g, f and i by a shared LSTM (Ravi and Larochelle 2017).

    The cell c is the flattened weights, of P coordinates; its initial value is the initial weights,
    trained as those of every scheme. At each step a first LSTM of `hidden` units reads, for each
    coordinate alone, the loss and the gradient, preprocessed with `p`; its output h, the cell and
    the last pre-sigmoid gate give the next one, f = w_f [h, c, f] + b_f, and i alike (section 3.1;
    the recurrent gates are pre-sigmoid in the paper's code). All coordinates share the weights.

    Meta-parameters: `lstm/weight` `[4*hidden, 4 + hidden]` and `lstm/bias` `[4*hidden]`, gates in
    the order input, forget, cell, output; `forget/weight` and `input/weight` `[hidden + 2]`;
    `forget/bias` and `input/bias`, 0-d, which start in [4, 5] and [-5, -4], hence near a slow
    gradient descent, the others in [-0.01, 0.01]. The rule is the same for steps beyond the trained
    ones.

    Losses and gradients are constants here, in second order too, as in the paper (section 3.3); the
    outer gradient runs through c, h, f and i. A step shows the whole support set, where the paper
    went through it in batches. Memory grows with P * hidden: for the outer gradient a step keeps
    some 270 floats a coordinate at 20 units, 126 MiB a task on Conv4 with 64 filters.

    Raises UsageError where hidden is below 1, or p not positive or not finite.
    """

    hidden: int = 20
    p: float = 10.0

    def __post_init__(self) -> None:
        checks.one_or_more("lstm", hidden=self.hidden)
        checks.above_zero("lstm", p=self.p)

    def init(self, infos: Sequence[ParamInfo], steps: int, generator: torch.Generator) -> Params:
        """The weights of both LSTMs, which depend neither on `infos` nor on `steps`."""

        def uniform(low: float, high: float, *shape: int) -> Tensor:
            empty = torch.empty(shape, dtype=torch.float32, device=generator.device)
            return empty.uniform_(low, high, generator=generator)

        return {
            "lstm/weight": uniform(-0.01, 0.01, GATES * self.hidden, INPUTS + self.hidden),
            "lstm/bias": uniform(-0.01, 0.01, GATES * self.hidden),
            "forget/weight": uniform(-0.01, 0.01, self.hidden + 2),
            "forget/bias": uniform(4, 5),
            "input/weight": uniform(-0.01, 0.01, self.hidden + 2),
            "input/bias": uniform(-5, -4),
        }

    def prepare(
        self, meta: Params, params: Params, support_grads: Callable[[], Params]
    ) -> tuple[Params, State]:
        """The weights, and a state of zeros: `h` and `c` `[P, hidden]`, `f` and `i` `[P]`."""
        coordinates = _flat(params.values())
        zeros = torch.zeros_like(coordinates)
        hidden = zeros.unsqueeze(-1).expand(-1, self.hidden)
        return params, {"h": hidden, "c": hidden, "f": zeros, "i": zeros}

    def step(self, meta: Params, at: InnerStep, state: State) -> Update:
        """One step of both LSTMs; `rates` are the means of sigmoid(i)."""
        weights = _flat(at.params[info.name] for info in at.infos)
        grads = _flat(at.grads[info.name].detach() for info in at.infos)
        loss = preprocess(at.loss.detach(), self.p).expand(len(grads), 2)
        inputs = torch.cat([loss, preprocess(grads, self.p)], dim=-1)

        h, c = _lstm_cell(meta["lstm/weight"], meta["lstm/bias"], inputs, state["h"], state["c"])

        def gate(name: str, last: Tensor) -> Tensor:
            seen = torch.cat([h, weights.unsqueeze(-1), last.unsqueeze(-1)], dim=-1)
            return seen @ meta[f"{name}/weight"] + meta[f"{name}/bias"]

        f, i = gate("forget", state["f"]), gate("input", state["i"])
        rates = i.sigmoid()
        moved = _split(f.sigmoid() * weights - rates * grads, at.infos)
        means = [rate.mean() for rate in _split(rates, at.infos).values()]
        return Update(moved, torch.stack(means), {"h": h, "c": c, "f": f, "i": i})


def preprocess(x: Tensor, p: float) -> Tensor:
    """Magnitude and sign of `x` `[...]` on scales of order 1, `[..., 2]`.

    (log|x| / p, sign x) where |x| >= e^-p, else (-1, e^p x) (Ravi and Larochelle 2017, section 3.2,
    after Andrychowicz et al. 2016, appendix A).
    """
    smallest = exp(-p)
    magnitude = x.abs().clamp(min=smallest).log() / p
    return torch.stack([magnitude, (x / smallest).clamp(-1, 1)], dim=-1)


def _lstm_cell(
    weight: Tensor, bias: Tensor, inputs: Tensor, h: Tensor, c: Tensor
) -> tuple[Tensor, Tensor]:
    gates = F.linear(torch.cat([inputs, h], dim=-1), weight, bias)
    i, f, g, o = gates.chunk(GATES, dim=-1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def _flat(tensors: Iterable[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])


def _split(flat: Tensor, infos: Sequence[ParamInfo]) -> Params:
    parts = flat.split([prod(info.shape) for info in infos])
    return {info.name: part.view(info.shape) for info, part in zip(infos, parts, strict=True)}
