"""TRLearner: models adapted to other tasks must predict a task's queries, the more related the
tasks are."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from episodes.errors import UsageError, unknown_name
from trainers.algorithms import Adaptation, Algorithm
from trainers.regularizers.relation import (
    Pool,
    Weighting,
    consistency,
    peer_weights,
    relation_matrix,
)
from trainers.types import Params, Task

HEADS = "trlearner/heads"
Relation = Literal["learned", "uniform", "shuffled"]
Head = Literal["peer", "own"]
Representation = Literal["features", "labelled"]

CHOICES = {
    "relation": Relation,
    "weighting": Weighting,
    "pool": Pool,
    "head": Head,
    "representation": Representation,
}


class Consistency(NamedTuple):
    """The consistency loss, 0-d, or the part of it that some tasks contribute, and the relations
    `[N, N]` that it was made with, detached."""

    loss: Tensor
    relations: Tensor


@dataclass(frozen=True)
class TRLearner:
    """The outer loss gets `strength` times the consistency loss (TRLearner, eqs. 4-6).

    Relations come of the tasks' mean support features at the weights before adaptation, through
    which no gradient flows, seen by `heads` learned heads; where `representation` is labelled, of
    the mean products of features and targets, for the inputs alone tell nothing of a regression
    task. `relation` uniform
    and shuffled are control arms: all relations 1, and the rows of the matrix permuted. `weighting`
    makes weights of relations, softmax at `temperature`; `pool` says what is mixed; with `head` own
    the peers' bodies predict through the task's own head.

    Raises UsageError for fields out of range.
    """

    strength: float = 0.5
    heads: int = 4
    relation: Relation = "learned"
    weighting: Weighting = "relu"
    temperature: float = 1.0
    pool: Pool = "logits"
    head: Head = "peer"
    representation: Representation = "features"

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in get_args(choices):
                raise unknown_name(f"trlearner {name}", getattr(self, name), get_args(choices))
        if not (isfinite(self.strength) and self.strength >= 0):
            raise UsageError(f"trlearner: strength is {self.strength}, expected 0 or more")
        if self.heads < 1:
            raise UsageError(f"trlearner: heads is {self.heads}, expected at least 1")
        if not (isfinite(self.temperature) and self.temperature > 0):
            raise UsageError(f"trlearner: temperature is {self.temperature}, expected above 0")
        if self.weighting == "literal" and self.pool == "probabilities":
            raise UsageError("trlearner: literal weights can be negative: pool logits")

    def init(self, how: Adaptation, generator: torch.Generator) -> Params:
        """The heads `[K, d]`, drawn around 1, because equal heads would stay equal."""
        outputs, size = _head_shape(how)
        if self.representation == "labelled":
            size *= outputs
        noise = torch.randn(self.heads, size, generator=generator, device=generator.device)
        return {HEADS: 1 + 0.1 * noise}

    def representations(
        self, algorithm: Algorithm, how: Adaptation, params: Params, tasks: Task
    ) -> Tensor:
        """Representations `[N, d]` of the tasks of a batch, detached."""
        constants = {name: tensor.detach() for name, tensor in params.items()}
        weights = algorithm.weights_at(how, constants, 0)

        def of_task(inputs: Tensor, targets: Tensor) -> Tensor:
            features = how.backbone.features(weights, inputs)
            if self.representation == "features":
                return features.mean(0)
            return (features[:, :, None] * targets[:, None, :]).mean(0).flatten()

        each = torch.func.vmap(of_task)(tasks.support_inputs, tasks.support_targets)
        return each.detach()

    def relations(
        self,
        algorithm: Algorithm,
        how: Adaptation,
        params: Params,
        tasks: Task,
        order: Tensor | None = None,
    ) -> Tensor:
        """The relations `[N, N]` of the tasks of a batch.

        `order` `[N]` is the permutation of the rows in the shuffled arm, which needs one.
        """
        if self.relation == "uniform":
            count = len(tasks.support_inputs)
            return tasks.support_inputs.new_ones(count, count)
        representations = self.representations(algorithm, how, params, tasks)
        relations = relation_matrix(representations, params[HEADS])
        if self.relation == "learned":
            return relations
        if order is None:
            raise UsageError("trlearner: shuffled relations need an order")
        return relations[order]

    def __call__(
        self,
        algorithm: Algorithm,
        how: Adaptation,
        params: Params,
        models: Params,
        tasks: Task,
        rows: Sequence[int] | None = None,
        order: Tensor | None = None,
    ) -> Consistency:
        """The consistency loss of the tasks `rows` of a batch, by default of all.

        `models` hold the N tasks' own, stacked `[N, ...]`; the parts of disjoint rows sum to the
        whole. 0 for a single task, which has no peers.
        """
        count = len(tasks.support_targets)
        device = tasks.support_inputs.device
        chosen = torch.arange(count, device=device)
        if rows is not None:
            chosen = torch.as_tensor(rows, dtype=torch.int64, device=device)
        own_names = [n for n in models if self.head == "own" and n in _heads(how)]
        relations = self.relations(algorithm, how, params, tasks, order)
        if count < 2:
            return Consistency(relations.sum() * 0, relations.detach())
        outputs = crossed(
            lambda model, inputs: algorithm.predict(how, params, model, inputs),
            models,
            tasks.query_inputs[chosen],
            {name: models[name][chosen] for name in own_names},
            at_once=how.batched or not _body(how) & models.keys(),
        )
        weights = peer_weights(relations, self.weighting, self.temperature)
        loss, _ = consistency(
            outputs, tasks.query_targets[chosen], weights, chosen, how.loss, self.pool
        )
        return Consistency(loss, relations.detach())


def crossed(
    predict: Callable[[Params, Tensor], Tensor],
    models: Params,
    inputs: Tensor,
    own: Params | None = None,
    at_once: bool = True,
) -> Tensor:
    """Outputs `[N, R, n, o]` of N stacked models on each of R tasks' inputs `[R, n, ...]`.

    Tensors `own` `[R, ...]` of a task take the place of each model's. One task's inputs never meet
    another's in a normalisation. Model by model where not `at_once`: with the weights of one model
    a convolution takes all inputs together, which on a CPU is quicker.
    """
    own = own or {}
    of_tasks = torch.func.vmap(
        lambda model, own, inputs: predict(model | own, inputs), in_dims=(None, 0, 0)
    )
    if at_once:
        return torch.func.vmap(of_tasks, in_dims=(0, None, None))(models, own, inputs)
    count = len(next(iter(models.values())))
    each = [{name: tensor[p] for name, tensor in models.items()} for p in range(count)]
    return torch.stack([of_tasks(model, own, inputs) for model in each])


def _body(how: Adaptation) -> set[str]:
    """The names of the tensors that features depend on: computed once where no model has one."""
    return {info.name for info in how.infos(lambda role: True) if info.role != "head"}


def _heads(how: Adaptation) -> set[str]:
    infos = how.infos(lambda role: True)
    return {info.name for info in infos if info.role == "head"}


def _head_shape(how: Adaptation) -> tuple[int, ...]:
    """(outputs, features) of the head."""
    infos = how.infos(lambda role: True)
    return next(info.shape for info in infos if info.role == "head" and len(info.shape) == 2)
