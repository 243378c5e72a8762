"""Heads that a task starts from, other than the learned one."""

import torch
import torch.nn.functional as F
from torch import Tensor

from trainers.algorithms.passes import Adaptation
from trainers.types import Params, Task


def class_means(features: Tensor, labels: Tensor, way: int) -> Tensor:
    """The mean feature `[way, d]` of each class, of features `[n, d]` and labels `[n]`."""
    members = F.one_hot(labels, way).to(features.dtype)
    return (members.T @ features) / members.sum(0)[:, None]


def initial_head(how: Adaptation, weights: Params, task: Task) -> Params:
    """The head's tensors that the task starts from instead of the learned ones.

    `zero` starts from zeros; `prototypes` from the linear form of the squared distance to the class
    means c, w = 2c and b = -|c|^2, through which gradients flow (Triantafillou et al. 2020, eq. 6).
    """
    if how.head_init == "learned":
        return {}
    heads = [info for info in how.backbone.param_infos(lambda role: role == "head") if info.adapted]
    if how.head_init == "zero":
        return {info.name: torch.zeros_like(weights[info.name]) for info in heads}
    features = how.backbone.features(weights, task.support_inputs)
    means = class_means(features, task.support_targets, how.way)
    values = {2: 2 * means, 1: -means.square().sum(1)}
    return {info.name: values[len(info.shape)] for info in heads}
