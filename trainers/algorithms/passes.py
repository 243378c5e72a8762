"""A task's support and query set, passed through the network at given weights."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from trainers.inner_loop import Differentiate, SupportPass, by_autograd, by_function_transform
from trainers.rates.base import RateScheme
from trainers.recomputed import Graph, recomputed, stored
from trainers.types import (
    ABSENT,
    PADDING,
    Backbone,
    BatchNormMode,
    Loss,
    Moments,
    ParamInfo,
    Params,
    Role,
    Task,
)

RUNNING_MOMENTUM = 0.9
"""Meta-LSTM's for 1-shot (Ravi and Larochelle 2017)."""

HeadInit = Literal["learned", "zero", "prototypes"]


@dataclass(frozen=True)
class Adaptation:
    """How tasks are adapted to: all of the inner loop that is not a tensor.

    Tasks have `way` outputs, which need not be as many as the backbone's head has where the head is
    not learned; with `shared_head_rates` what a scheme learns of the head serves each of its rows.
    `padded` tasks hold images and classes that do not count. In `training` the results
    carry the graph to the initial weights and the meta-parameters, which must require gradients:
    through the inner gradients in `second_order`, past them otherwise. `query_weights`, one a step,
    make the outer loss a weighted sum of the query losses after each step (MAML++'s multi-step
    loss); without them it is that after the last. `batched` tasks are adapted at once; of others
    the graph is made again for the outer gradient where it is to be `recomputed`, in second order.
    """

    backbone: Backbone
    scheme: RateScheme
    loss: Loss
    way: int
    steps: int
    bn: BatchNormMode = "batch"
    head_init: HeadInit = "learned"
    training: bool = False
    second_order: bool = True
    query_weights: tuple[float, ...] | None = None
    batched: bool = False
    recomputed: bool = False
    padded: bool = False
    shared_head_rates: bool = False

    def infos(self, adapts: Callable[[Role], bool]) -> list[ParamInfo]:
        """The backbone's parameters, with a head of `way` outputs where it is not a learned one."""
        infos = self.backbone.param_infos(adapts)
        if self.head_init == "learned":
            return infos
        return [
            replace(info, shape=(self.way, *info.shape[1:])) if info.role == "head" else info
            for info in infos
        ]

    def differentiate(self) -> Differentiate:
        """How the support loss is differentiated."""
        if self.batched:
            return by_function_transform(self.training and self.second_order)
        return by_autograd(self.second_order, self.training)

    def graph(self) -> Graph:
        """How the graph of an inner step, and of a pass, is kept."""
        recomputes = self.recomputed and self.training and self.second_order and not self.batched
        return recomputed if recomputes else stored

    def at_step(self, weights: Params, infos: Sequence[ParamInfo], j: int) -> Params:
        """The weights of step `j`: normalisation's own scale and offset where `bn` is per-step.

        Steps beyond the trained ones use the last one's.
        """
        if self.bn != "per-step":
            return weights
        norms = {info.name: weights[info.name] for info in infos if info.role == "norm"}
        chosen = {name: norm[min(max(j, 0), len(norm) - 1)] for name, norm in norms.items()}
        return weights | chosen


class Passes:
    """The passes of one task: `params` are the weights that it starts from.

    `adapting` describes those of them that adapt, `initial` holds these before the first step and
    `fixed` the others. `effective` turns all weights into those that the network is passed with.
    Where no weight of the body adapts (`is_body_fixed`), features are computed once. `proximity` /
    2 times the squared distance from the start is part of the support loss; `masks` multiply
    gradients. `graph` keeps the graph of steps and passes.
    """

    def __init__(
        self,
        how: Adaptation,
        infos: Sequence[ParamInfo],
        params: Params,
        task: Task,
        effective: Callable[[Params], Params],
        is_body_fixed: bool,
        masks: Params,
        proximity: float = 0.0,
    ) -> None:
        self.adapting = [info for info in infos if info.adapted]
        self.initial = {info.name: params[info.name] for info in self.adapting}
        self.fixed = {name: t for name, t in params.items() if name not in self.initial}
        self.graph = stored if is_body_fixed else how.graph()
        self.masks, self._proximity = masks, proximity
        self._how, self._infos, self._params, self._task = how, infos, params, task
        self._effective, self._is_body_fixed = effective, is_body_fixed
        self._running: Moments = []
        self._kept: dict[str, tuple[Tensor, Moments]] = {}
        if is_body_fixed:  # Now: what is first computed inside a function transform ends with it.
            self._own_features("support", self._weights({}, 0), False)

    def support(self, fast: Params, j: int) -> SupportPass:
        """The support set's pass of step `j` (from 0), with the fast weights `fast`."""
        how, weights = self._how, self._weights(fast, j)
        features, moments = self._own_features("support", weights, how.bn == "running")
        outputs = self._logits(weights, features)
        loss = how.loss(outputs, self._task.support_targets)
        if self._proximity:
            loss = loss + self._proximity / 2 * squared_distance(fast, self.initial)
        return SupportPass(loss, outputs, moments)

    def query(self, fast: Params, j: int) -> tuple[Tensor, Tensor]:
        """The query set's loss, 0-d, and outputs `[Q, o]` with the weights after step `j`."""

        def loss_and_outputs(params: Params) -> tuple[tuple[Tensor, Tensor], None]:
            weights = self._weights(params, j)
            outputs = self._logits(weights, self._query_features(weights))
            return (self._how.loss(outputs, self._task.query_targets), outputs), None

        return self.graph(loss_and_outputs, self._params | fast)[0]

    def features(self) -> tuple[Tensor, Tensor]:
        """Features of the support set and of the query set at the start."""
        weights = self._weights({}, 0)
        return self._own_features("support", weights, False)[0], self._query_features(weights)

    def support_moments(self, weights: Params) -> Moments:
        """The moments of the support set under these weights."""
        return self._own_features("support", weights, True)[1]

    def final_query_moments(self, fast: Params) -> Moments:
        """What normalises query inputs after the last step; empty: their own moments."""
        last = self._how.steps - 1
        found, _ = self.graph(
            lambda params: (self._query_moments(self._weights(params, last)), None),
            self._params | fast,
        )
        return found

    def note(self, moments: Moments) -> None:
        """Take a step's support moments into the running ones, which begin with the first."""
        if not self._running:
            self._running = moments
            return
        kept, added = RUNNING_MOMENTUM, 1 - RUNNING_MOMENTUM
        self._running = [
            (kept * mean + added * new_mean, kept * variance + added * new_variance)
            for (mean, variance), (new_mean, new_variance) in zip(
                self._running, moments, strict=True
            )
        ]

    def _logits(self, weights: Params, features: Tensor) -> Tensor:
        outputs = self._how.backbone.logits(weights, features)
        return self.without_absent(outputs)

    def without_absent(self, outputs: Tensor) -> Tensor:
        """Logits; in padded tasks those of classes that a task does not have so low that their
        softmax is 0."""
        if not self._how.padded:
            return outputs
        classes = torch.arange(outputs.shape[-1], device=outputs.device)
        return outputs.masked_fill(classes > self._task.support_targets.max(), ABSENT)

    @property
    def ways(self) -> Tensor | None:
        """In padded tasks the number of classes, 0-d."""
        return self._task.support_targets.max() + 1 if self._how.padded else None

    def rows(self, which: Literal["support", "query"]) -> Tensor | None:
        """In padded tasks, which images count, bool `[n]`."""
        targets = self._task.support_targets if which == "support" else self._task.query_targets
        return targets != PADDING if self._how.padded else None

    def _weights(self, fast: Params, j: int) -> Params:
        return self._how.at_step(self._effective(self._params | fast), self._infos, j)

    def _query_moments(self, weights: Params) -> Moments:
        match self._how.bn:
            case "support":
                return self.support_moments(weights)
            case "running" if not self._how.training:
                return self._running or self.support_moments(weights)
            case _:
                return []

    def _query_features(self, weights: Params) -> Tensor:
        if moments := self._query_moments(weights):
            return self._given("query", weights, moments)
        return self._own_features("query", weights, False)[0]

    def _own_features(
        self, which: Literal["support", "query"], weights: Params, collects: bool
    ) -> tuple[Tensor, Moments]:
        """Features normalised by the set's own moments, and these if they are collected."""
        if which in self._kept:
            return self._kept[which]
        moments: Moments = []
        wants_later = self._is_body_fixed and which == "support" and self._how.bn != "batch"
        collect = moments if collects or wants_later else None
        features = self._how.backbone.features(
            weights, self._inputs(which), None, collect, self.rows(which)
        )
        if self._is_body_fixed:
            self._kept[which] = features, moments
        return features, moments

    def _given(
        self, which: Literal["support", "query"], weights: Params, moments: Moments
    ) -> Tensor:
        return self._how.backbone.features(weights, self._inputs(which), moments)

    def _inputs(self, which: Literal["support", "query"]) -> Tensor:
        return self._task.support_inputs if which == "support" else self._task.query_inputs


def squared_distance(weights: Params, start: Params) -> Tensor:
    """|weights - start|^2 over the tensors of `start`, 0-d."""
    return torch.stack(
        [(weights[name] - tensor).square().sum() for name, tensor in start.items()]
    ).sum()
