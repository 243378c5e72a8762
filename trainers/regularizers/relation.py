"""How much tasks have to do with each other, and models that predict for each other's tasks."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from trainers.types import Loss

Weighting = Literal["relu", "literal", "softmax"]
Pool = Literal["logits", "probabilities"]
LEAST_SUM = 1e-6
"""A row of weights that sums to less has no peers."""


def relation_matrix(representations: Tensor, heads: Tensor) -> Tensor:
    """Relations `[N, N]` of tasks by their representations `[N, d]`: symmetric, 1 on the diagonal.

    The mean over heads `[K, d]` of the cosine of two representations, both multiplied by the head
    (TRLearner, eq. 4). It depends on a head through its square only.
    """
    seen = F.normalize(heads[:, None] * representations[None], dim=-1)
    return (seen @ seen.mT).mean(0)


def peer_weights(
    relations: Tensor, weighting: Weighting = "relu", temperature: float = 1.0
) -> Tensor:
    """The weights `[N, N]` of each task's peers from relations `[N, N]`; 0 on the diagonal.

    `relu` and `literal` rows sum to 1, those of `relu` without the negative relations, or are zeros
    where they would be divided by less than 1e-6; `softmax` is that of relations / temperature.
    """
    itself = torch.eye(len(relations), dtype=torch.bool, device=relations.device)
    if weighting == "softmax":
        logits = (relations / temperature).masked_fill(itself, -torch.inf)
        return torch.softmax(logits, -1)
    weights = relations.masked_fill(itself, 0)
    if weighting == "literal":
        return weights / weights.sum(-1, keepdim=True)
    weights = weights.relu()
    sums = weights.sum(-1, keepdim=True)
    return torch.where(sums < LEAST_SUM, 0, weights / sums.clamp(min=LEAST_SUM))


def mixed(outputs: Tensor, weights: Tensor, pool: Pool = "logits") -> Tensor:
    """Predictions `[R, n, o]` for R tasks by all N models, of their outputs `[N, R, n, o]` and the
    tasks' weights `[R, N]`.

    `probabilities` mixes softmax probabilities and gives their logarithms.
    """
    if pool == "logits":
        return torch.einsum("rp,prno->rno", weights, outputs)
    # A weight of 0 must not bring the gradient of log 0 along.
    is_peer = weights > 0
    logarithms = torch.where(is_peer, torch.where(is_peer, weights, 1).log(), -torch.inf)
    return torch.logsumexp(logarithms.T[:, :, None, None] + outputs.log_softmax(-1), 0)


def consistency(
    outputs: Tensor,
    targets: Tensor,
    weights: Tensor,
    rows: Tensor,
    loss: Loss,
    pool: Pool = "logits",
) -> tuple[Tensor, Tensor]:
    """The part of the consistency loss that R of N tasks contribute, 0-d, and each one's loss
    `[R]` (TRLearner, eq. 5).

    `outputs` `[N, R, n, o]` are those of all N models on the query sets of the tasks `rows` `[R]`,
    whose targets are `targets` `[R, n, ...]`; `weights` `[N, N]` are the peers'. The parts of all
    tasks sum to the mean over those tasks that have peers; 0 where none has.
    """
    own = weights[rows]
    has_peers = weights.sum(-1).abs() >= LEAST_SUM
    predicted = mixed(outputs, torch.where(has_peers[rows, None], own, 1 / len(weights)), pool)
    losses = torch.stack([loss(*pair) for pair in zip(predicted, targets, strict=True)])
    losses = torch.where(has_peers[rows], losses, 0)
    return losses.sum() / has_peers.sum().clamp(min=1), losses
