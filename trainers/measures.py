"""What a sampler wants to know of tasks before they are adapted to, as plain arrays."""

from collections.abc import Collection
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from trainers.group import Group
from trainers.learner import Learner
from trainers.outer_gradient import flat_gradients
from trainers.types import Params, Task, each_task, some_tasks


def measure(
    wanted: Collection[str],
    learner: Learner,
    params: Params,
    meta: Params,
    tasks: Task,
    group: Group,
) -> dict[str, np.ndarray]:
    """Those of `episodes.sampling.MEASURES` that are wanted of a batch of P tasks.

    All ranks of the group get all of them, each having measured its share.
    """
    found: dict[str, Tensor] = {}
    if "labels" in wanted and not tasks.support_targets.is_floating_point():
        found["labels"] = tasks.support_targets
    own = some_tasks(tasks, group.share(len(tasks.support_targets)))
    if "features" in wanted:
        found["features"] = group.gathered(support_features(learner, params, own).double())
    names = {"gradient_norms", "gradient_cosines"} & set(wanted)
    if names:
        norms, cosines = gradients_before(learner, params, meta, own, "gradient_cosines" in names)
        both = {"gradient_norms": norms, "gradient_cosines": cosines}
        found |= {name: group.gathered(both[name]) for name in sorted(names)}
    return {name: tensor.cpu().numpy() for name, tensor in found.items()}


def support_features(learner: Learner, params: Params, tasks: Task) -> Tensor:
    """Features `[P, S, d]` of the tasks' support sets at the weights before adaptation, detached.

    Each is normalised by its own moments.
    """
    how, algorithm = learner.training, learner.algorithm
    constants = {name: tensor.detach() for name, tensor in params.items()}
    weights = algorithm.weights_at(how, constants, 0)
    with torch.no_grad():
        return torch.func.vmap(lambda inputs: how.backbone.features(weights, inputs))(
            tasks.support_inputs
        )


def gradients_before(
    learner: Learner, params: Params, meta: Params, tasks: Task, with_query: bool = True
) -> tuple[Tensor, Tensor]:
    """Two float64 `[P]` of the tasks' gradients with respect to all trained weights, before any
    step: the squared norm of the support loss's, and its cosine with the query loss's (nan unless
    `with_query`)."""
    how = replace(learner.training, batched=False)
    trained = [tensor for tensor in params.values() if tensor.requires_grad]
    norms, cosines = [], []
    for task in each_task(tasks):
        support_loss, query_loss = learner.algorithm.losses_before(
            how, params, meta, task, with_query
        )
        support = _flat_gradient(support_loss, trained)
        norms.append(support.square().sum())
        if query_loss is None:
            cosines.append(norms[-1] * torch.nan)
        else:
            query = _flat_gradient(query_loss, trained)
            cosines.append(torch.nn.functional.cosine_similarity(support, query, dim=0))
    return torch.stack(norms), torch.stack(cosines)


def _flat_gradient(loss: Tensor, tensors: list[Tensor]) -> Tensor:
    found = torch.autograd.grad(loss, tensors, retain_graph=True, allow_unused=True)
    return flat_gradients(found, tensors).double()
