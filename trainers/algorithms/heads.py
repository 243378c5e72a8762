"""Heads that a task starts from, other than the learned one."""

import torch
from torch import Tensor

from trainers.algorithms.passes import Adaptation
from trainers.types import PADDING, Params, Task


def class_means(features: Tensor, labels: Tensor, way: int) -> Tensor:
    """The mean feature `[way, d]` of each class, of features `[n, d]` and labels `[n]`; zeros for a
    class that has none."""
    members = (labels[:, None] == torch.arange(way, device=labels.device)).to(features.dtype)
    return (members.T @ features) / members.sum(0).clamp(min=1)[:, None]


def initial_head(how: Adaptation, weights: Params, task: Task) -> Params:
    """The head's tensors that the task starts from instead of the learned ones.

    `zero` starts from zeros; `prototypes` from the linear form of the squared distance to the class
    means c, w = 2c and b = -|c|^2, through which gradients flow (Triantafillou et al. 2020, eq. 6).
    """
    if how.head_init == "learned":
        return {}
    heads = [info for info in how.infos(lambda role: role == "head") if info.adapted]
    if how.head_init == "zero":
        return {info.name: weights[info.name].new_zeros(info.shape) for info in heads}
    rows = task.support_targets != PADDING if how.padded else None
    features = how.backbone.features(weights, task.support_inputs, rows=rows)
    means = class_means(features, task.support_targets, how.way)
    values = {2: 2 * means, 1: -means.square().sum(1)}
    return {info.name: values[len(info.shape)] for info in heads}
