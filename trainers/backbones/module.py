"""Any `torch.nn.Module` as a backbone."""

import copy
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules import batchnorm, conv, dropout, instancenorm
from torch.nn.parameter import UninitializedParameter

from episodes.errors import UsageError, unknown_name
from trainers.backbones.layers import BatchNorms, tensors
from trainers.types import Moments, ParamInfo, Params, Role

NORMALISATIONS = (
    batchnorm._BatchNorm,
    instancenorm._InstanceNorm,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.RMSNorm,
)


class Module:
    """A `torch.nn.Module` as a backbone: pure functions of its parameters, under its own names.

    `head` names the `nn.Linear` whose outputs the network returns; without it the last one in the
    order of registration is taken. What flows into it are the features.

    The network is copied, and its present values are the initial ones. Batch normalisation always
    uses batch moments, or given ones, whatever the module's mode, and keeps no running statistics.
    Parameters that require no gradient are constants, which no loop changes. Roles follow from the
    module's type; a parameter of an unknown one counts as `linear` where it has two axes or more,
    else as `bias`. The forward must take one tensor, and be batchable by `torch.func.vmap` where
    tasks are adapted to at once: no branch on values, no change in place of a buffer.

    Raises UsageError for a network with no such head, with dropout in training mode, with
    parameters whose shapes are not known yet, or with running statistics of instances.
    """

    def __init__(self, net: nn.Module, head: str | None = None) -> None:
        _check_stateless(net)
        net = copy.deepcopy(net)
        params = {name: param for name, param in net.named_parameters() if param.requires_grad}
        self._head = _find_head(net, head, params)
        self._infos = [_info(net, name, param, self._head) for name, param in params.items()]
        self._initial = {name: param.detach() for name, param in params.items()}
        self._body = _with_substitutes(net, self._head)
        self._constants = {
            name: tensor.detach()
            for name, tensor in (*self._body.named_parameters(), *self._body.named_buffers())
            if name not in params
        }
        self._body_names = [name for name, _ in self._body.named_parameters() if name in params]

    def init(self, generator: torch.Generator) -> Params:
        """The network's own values when it was wrapped, in its own dtype, on the generator's
        device; nothing is drawn."""
        device = generator.device
        return {name: param.to(device, copy=True) for name, param in self._initial.items()}

    def param_infos(self, adapts: Callable[[Role], bool]) -> list[ParamInfo]:
        """One entry a parameter, in the order of `init`; `adapts` tells which roles adapt."""
        return [replace(info, adapted=adapts(info.role)) for info in self._infos]

    def features(
        self,
        params: Params,
        inputs: Tensor,
        moments: Moments | None = None,
        collect: Moments | None = None,
        rows: Tensor | None = None,
    ) -> Tensor:
        """What flows into the head, `[n, d]`, of inputs `[n, ...]`.

        Every batch normalisation uses the inputs' own moments, or the given ones, through which
        gradients flow; `collect` is given the inputs' own, in the order in which the layers are
        reached. Only `rows` count in these. Raises UsageError where the network does more after its
        head, or where the features are not `[n, d]`.
        """
        weights = {name: params[name] for name in self._body_names} | self._constants_like(params)
        features: list[Tensor] = []
        token = _PASS.set(_Pass(BatchNorms(moments, collect, rows), features))
        try:
            outputs = functional_call(self._body, weights, (inputs,))
        finally:
            _PASS.reset(token)
        if len(features) != 1 or outputs is not features[0]:
            raise UsageError(
                f"module: the network's output is not what its head {self._head!r} returns: name "
                f"the last layer by head=..., and leave what follows it to the loss"
            )
        if outputs.ndim != 2:
            raise UsageError(
                f"module: features of shape {tuple(outputs.shape)} reach the head {self._head!r}, "
                f"expected [n, d]: flatten or pool them before it"
            )
        return outputs

    def logits(self, params: Params, features: Tensor) -> Tensor:
        """Outputs `[n, o]` of features `[n, d]`."""
        return F.linear(features, *tensors(params, self._head))

    def _constants_like(self, params: Params) -> Params:
        like = next(iter(params.values()))
        return {
            name: tensor.to(like.device, like.dtype if tensor.is_floating_point() else None)
            for name, tensor in self._constants.items()
        }


class _Pass(NamedTuple):
    normalise: BatchNorms
    features: list[Tensor]


_PASS: ContextVar[_Pass] = ContextVar("pass")


class _BatchNorm(nn.Module):
    """Stands for a batch normalisation, under its parameters' names."""

    def __init__(self, norm: batchnorm._BatchNorm) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps

    def forward(self, maps: Tensor) -> Tensor:
        return _PASS.get().normalise(maps, self.weight, self.bias, self.eps)


class _Head(nn.Module):
    """Stands for the head: notes the features and returns them."""

    def forward(self, features: Tensor) -> Tensor:
        _PASS.get().features.append(features)
        return features


def _check_stateless(net: nn.Module) -> None:
    for name, module in net.named_modules():
        rate = module.p if isinstance(module, dropout._DropoutNd) else 0.0
        if isinstance(module, nn.RNNBase | nn.MultiheadAttention):
            rate = module.dropout
        if rate > 0 and module.training:
            raise UsageError(
                f"module: {name!r} drops out at random, being in training mode; expected passes "
                f"that do not depend on chance: call .eval() on the network"
            )
        if isinstance(module, instancenorm._InstanceNorm) and module.track_running_stats:
            raise UsageError(
                f"module: {name!r} keeps running statistics of instances, expected passes that "
                f"leave no trace: build it with track_running_stats=False"
            )
    for name, param in net.named_parameters():
        if isinstance(param, UninitializedParameter):
            raise UsageError(
                f"module: parameter {name!r} has no shape yet: pass one batch through the network"
            )


def _find_head(net: nn.Module, head: str | None, params: dict[str, nn.Parameter]) -> str:
    linear = [
        name for name, module in net.named_modules() if name and isinstance(module, nn.Linear)
    ]
    if not linear:
        raise UsageError("module: no nn.Linear inside the network, expected one as its head")
    if head is None:
        head = linear[-1]
    elif head not in linear:
        raise unknown_name("linear layer", head, linear)
    expected = {f"{head}.{name}" for name, _ in net.get_submodule(head).named_parameters()}
    if missing := sorted(expected - params.keys()):
        raise UsageError(
            f"module: {missing[0]!r} of the head requires no gradient or is shared with another "
            f"layer, expected a head of its own parameters: name another layer by head=..."
        )
    return head


def _info(net: nn.Module, name: str, param: Tensor, head: str) -> ParamInfo:
    owner, _, tensor = name.rpartition(".")
    return ParamInfo(
        name, tuple(param.shape), owner, _role(net.get_submodule(owner), owner, tensor, head), True
    )


def _role(module: nn.Module, name: str, tensor: str, head: str) -> Role:
    if name == head:
        return "head"
    if isinstance(module, NORMALISATIONS):
        return "norm"
    if tensor == "bias":
        return "bias"
    if isinstance(module, conv._ConvNd):
        return "conv"
    return "linear" if getattr(module, tensor).ndim > 1 else "bias"


def _with_substitutes(net: nn.Module, head: str) -> nn.Module:
    """The network, changed in place: its head and batch normalisations are replaced."""
    replaced: dict[nn.Module, nn.Module] = {net.get_submodule(head): _Head()}
    places = list(net.named_modules(remove_duplicate=False))
    for name, module in places:
        if isinstance(module, batchnorm._BatchNorm):
            replaced.setdefault(module, _BatchNorm(module))
        if module in replaced:
            net.set_submodule(name, replaced[module])
    return net
