"""Tasks of different ways and shots: padded and adapted at once they give what each gives alone."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainers.exactness.problems import NETWORK
from trainers.algorithms import ANIL, BOIL, MAML, R2D2, Adaptation, Algorithm, ProtoNet
from trainers.algorithms.base import TaskResult, initial
from trainers.backbones import Conv4
from trainers.metrics import ACCURACY
from trainers.rates import Fixed, Hypergradient, Personalized, RateScheme
from trainers.rates.alfa import Alfa
from trainers.rates.curvature import MetaCurvature
from trainers.rates.lslr import LSLR
from trainers.rates.lstm import MetaLSTM
from trainers.rates.meta_sgd import MetaSGD
from trainers.rates.pamela import Pamela
from trainers.types import PADDING, Params, Task

CONV4 = Conv4(7, 1, image_size=16, filters=3)
COUNTS = {  # The images of each class in the support set, and in the query set.
    "few": ((2, 3), (1, 1)),
    "many": ((1, 2, 1, 3), (2, 2, 2, 2)),
    "odd": ((4, 1, 1), (3, 3, 3)),
}
PADDED_WAY, PADDED_SUPPORT, PADDED_QUERY = 5, 9, 10

SCHEMES: dict[str, RateScheme] = {
    "fixed": Fixed(0.1),
    "personalized": Personalized(0.1, 3.0, detach_rate=False),
    **{
        f"personalized, {divergence}": Personalized(
            0.1, 3.0, divergence=divergence, detach_rate=False, clamp=0.01
        )
        for divergence in ("ce_mean_over_classes", "kl_smoothed", "kl_clamped", "p_no_log")
    },
    "hypergradient": Hypergradient(0.1),
    "lslr": LSLR(0.1),
    "meta-sgd": MetaSGD(0.1),
    "curvature": MetaCurvature(0.1),
    "lstm": MetaLSTM(hidden=3),
    "pamela": Pamela(0.1, interval=1, skip_start=0.3),
    "alfa": Alfa(0.1, weight_decay=0.1),
    "alfa, random": Alfa(0.1, 0.1, random_init=True),
}
METHODS: dict[str, tuple[Algorithm, dict[str, Any]]] = {
    "maml, zero head": (MAML(), {"head_init": "zero"}),
    "proto-maml": (MAML(adapt_bn=False), {"head_init": "prototypes", "bn": "support"}),
    "fo-proto-maml": (MAML(), {"head_init": "prototypes", "second_order": False}),
    "multi-step": (MAML(), {"head_init": "zero", "query_weights": (0.3, 0.7)}),
    "anil": (ANIL(), {"head_init": "zero", "bn": "support"}),
    "boil": (BOIL(), {"head_init": "prototypes"}),
    "protonet": (ProtoNet(), {}),
    "r2d2": (R2D2(), {}),
}


@dataclass(frozen=True)
class Problem:
    algorithm: Algorithm
    how: Adaptation
    params: Params
    meta: Params

    @property
    def leaves(self) -> list[Tensor]:
        return [t for t in (*self.params.values(), *self.meta.values()) if t.requires_grad]


def problem(method: str, scheme: RateScheme, backbone=NETWORK) -> Problem:
    algorithm, options = METHODS[method]
    how = Adaptation(
        backbone=backbone,
        scheme=scheme,
        loss=ACCURACY.loss,
        way=PADDED_WAY,
        steps=0 if method in ("protonet", "r2d2") else 2,
        training=True,
        shared_head_rates=True,
        **options,
    )
    generator = torch.Generator().manual_seed(1)
    params, meta = (
        {
            name: (tensor.double() + 0.1 * torch.randn(tensor.shape, generator=generator))
            .detach()
            .requires_grad_(tensor.requires_grad)
            for name, tensor in tensors.items()
        }
        for tensors in initial(algorithm, how, generator, "cpu")
    )
    return Problem(algorithm, how, params, meta)


def alone(backbone) -> list[tuple[int, Task]]:
    """The way of each task, and the task without padding."""
    generator = torch.Generator().manual_seed(2)
    size = 16 if backbone is CONV4 else 8

    def images(counts: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
        shape = (len(labels), 1, size, size)
        return torch.rand(shape, generator=generator, dtype=torch.float64), labels

    return [(len(shots), Task(*images(shots), *images(query))) for shots, query in COUNTS.values()]


def padded(tasks: list[Task]) -> Task:
    """All of them as one batch; the images that fill up are not zero."""

    def fill(tensor: Tensor, length: int, value: float) -> Tensor:
        missing = (length - len(tensor), *tensor.shape[1:])
        return torch.cat([tensor, tensor.new_full(missing, value)])

    def stack(inputs: list[Tensor], targets: list[Tensor], length: int) -> tuple[Tensor, Tensor]:
        filled = [fill(tensor, length, 0.7) for tensor in inputs]
        return torch.stack(filled), torch.stack([fill(t, length, PADDING) for t in targets])

    columns = list(zip(*(task[:4] for task in tasks), strict=True))
    return Task(
        *stack(list(columns[0]), list(columns[1]), PADDED_SUPPORT),
        *stack(list(columns[2]), list(columns[3]), PADDED_QUERY),
    )


def assert_padding_does_not_count(at: Problem) -> None:
    tasks = alone(at.how.backbone)
    each: list[TaskResult] = [
        at.algorithm.run(replace(at.how, way=way), at.params, at.meta, task) for way, task in tasks
    ]
    batch = padded([task for _, task in tasks])
    together = at.algorithm.run_batch(
        replace(at.how, batched=True, padded=True), at.params, at.meta, batch
    )
    close = {"rtol": 0, "atol": 1e-10, "equal_nan": True}
    figures = ACCURACY.of(together.outputs, batch.query_targets)
    for i, ((way, task), result) in enumerate(zip(tasks, each, strict=True)):
        torch.testing.assert_close(together.outer_loss[i], result.outer_loss, **close)
        torch.testing.assert_close(together.query_loss[i], result.query_loss, **close)
        outputs = together.outputs[i, : len(task.query_targets), :way]
        torch.testing.assert_close(outputs, result.outputs, **close)
        torch.testing.assert_close(together.trace.losses[i], result.trace.losses, **close)
        assert figures[i] == ACCURACY.of(result.outputs, task.query_targets)
    expected, found = (
        torch.autograd.grad(loss, at.leaves, allow_unused=True, materialize_grads=True)
        for loss in (
            torch.stack([result.outer_loss for result in each]).mean(),
            together.outer_loss.mean(),
        )
    )
    assert max(gradient.abs().max() for gradient in expected) > 1e-4
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, **close)


@pytest.mark.parametrize("method", METHODS)
def test_method(method: str) -> None:
    assert_padding_does_not_count(problem(method, Fixed(0.1)))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_scheme(scheme: str) -> None:
    assert_padding_does_not_count(problem("proto-maml", SCHEMES[scheme]))


@pytest.mark.parametrize("scheme", ["fixed", "alfa"])
def test_conv4(scheme: str) -> None:
    assert_padding_does_not_count(problem("fo-proto-maml", SCHEMES[scheme], CONV4))
