"""Conv4 made of plain torch modules, as other libraries take it, and what a step of it costs."""

from collections import OrderedDict
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from training_bench.setting import Setting

BLOCKS = 4
BODY = "body."
COUNTED = ("maml", "fomaml", "anil")


class Network(nn.Module):
    """Four blocks of convolution, batch normalisation, ReLU and max-pooling, then a linear head."""

    def __init__(self, setting: Setting) -> None:
        super().__init__()
        filters, side = setting.filters, setting.image_size // 2**BLOCKS
        blocks: dict[str, nn.Module] = {}
        for number in range(1, BLOCKS + 1):
            channels = setting.channels if number == 1 else filters
            blocks[f"block{number}"] = nn.Sequential(
                OrderedDict(
                    conv=nn.Conv2d(channels, filters, 3, padding=1),
                    norm=nn.BatchNorm2d(filters, track_running_stats=False),
                    relu=nn.ReLU(),
                    pool=nn.MaxPool2d(2),
                )
            )
        self.body = nn.Sequential(OrderedDict(**blocks, flatten=nn.Flatten()))
        self.head = nn.Linear(filters * side * side, setting.way)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of images."""
        logits: Tensor = self.head(self.body(images))
        return logits

    def parts(self, algo: str) -> tuple[nn.Module, nn.Module]:
        """What passes images once a task, and what adapts in the inner loop."""
        return (self.body, self.head) if algo == "anil" else (nn.Identity(), self)


def with_weights(setting: Setting, params: dict[str, Tensor]) -> Network:
    """The network with these weights, in their type and on their device."""
    network = Network(setting).to(next(iter(params.values())))
    network.load_state_dict({_own_name(name): tensor for name, tensor in params.items()})
    return network


def gradients(network: Network) -> dict[str, Tensor]:
    """The gradients that its weights hold, by the trainers' names."""
    return {
        name.removeprefix(BODY): tensor.grad
        for name, tensor in network.named_parameters()
        if tensor.grad is not None
    }


def _own_name(name: str) -> str:
    return name if name.startswith("head") else BODY + name


def flops_of_iteration(setting: Setting, algo: str) -> int | None:
    """The floating point operations of a meta-batch's gradient as other libraries compute it.

    Convolutions and matrix products count, as torch counts them, on tensors without values.
    None for other algorithms than those that have a plain loop here.
    """
    if algo not in COUNTED:
        return None
    network = Network(setting).to("meta")
    images: dict[str, Any] = {"device": "meta"}
    shape = (setting.channels, setting.image_size, setting.image_size)

    def drawn(per_class: int) -> tuple[Tensor, Tensor]:
        count = setting.way * per_class
        labels = torch.empty(count, dtype=torch.int64, **images)
        return torch.empty(count, *shape, **images), labels

    with FlopCounterMode(display=False) as counter:
        _differentiate(network, algo, setting.steps, *drawn(setting.shot), *drawn(setting.query))
    return counter.get_total_flops() * setting.meta_batch_size


def _differentiate(
    network: Network,
    algo: str,
    steps: int,
    support: Tensor,
    support_labels: Tensor,
    query: Tensor,
    query_labels: Tensor,
) -> None:
    """A task's meta-gradient by a plain loop; the rate does not matter."""
    body, inner = network.parts(algo)
    support, query = body(support), body(query)
    weights: dict[str, Tensor] = dict(inner.named_parameters())
    for _ in range(steps):
        loss = F.cross_entropy(functional_call(inner, weights, support), support_labels)
        found = torch.autograd.grad(loss, list(weights.values()), create_graph=algo != "fomaml")
        weights = {name: w - g for (name, w), g in zip(weights.items(), found, strict=True)}
    F.cross_entropy(functional_call(inner, weights, query), query_labels).backward()
