"""Outer gradients against libraries that differentiate through inner loops, where installed.

`pip install higher torchopt optree graphviz` brings both; neither is a dependency.
"""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from trainers.algorithms import MAML, Adaptation
from trainers.backbones import Module
from trainers.rates import Fixed
from trainers.rates.meta_sgd import MetaSGD
from trainers.types import Params, Task

RATE = 0.1


def network() -> nn.Module:
    layers = [nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3, track_running_stats=False), nn.Tanh()]
    module = nn.Sequential(*layers, nn.Flatten(), nn.Linear(3 * 16, 2)).double()
    generator = torch.Generator().manual_seed(0)
    for param in module.parameters():
        nn.init.uniform_(param, 0.1, 0.6, generator=generator)
    return module


def draw_task() -> Task:
    generator = torch.Generator().manual_seed(1)
    labels = torch.tensor([0, 0, 1, 1])
    support, query = torch.randn(2, 4, 1, 6, 6, generator=generator, dtype=torch.float64)
    return Task(support, labels, query, labels)


def assert_ours_equal(expected: Params, scheme, steps: int, meta: Params | None = None) -> None:
    """The outer gradients of the weights, and of `meta`, by name."""
    backbone, meta = Module(network()), meta or {}
    params = {n: t.requires_grad_() for n, t in backbone.init(torch.Generator()).items()}
    how = Adaptation(backbone, scheme, F.cross_entropy, 2, steps, training=True)

    loss = MAML().run(how, params, meta, draw_task()).outer_loss
    leaves = params | meta
    gradients = torch.autograd.grad(loss, list(leaves.values()))

    assert leaves.keys() == expected.keys()
    for name, gradient in zip(leaves, gradients, strict=True):
        torch.testing.assert_close(gradient, expected[name], rtol=1e-9, atol=1e-12, msg=name)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_maml_of_higher(steps):
    higher = pytest.importorskip("higher", reason="higher is not installed")
    module, task = network(), draw_task()
    optimizer = torch.optim.SGD(module.parameters(), lr=RATE)
    with higher.innerloop_ctx(module, optimizer, copy_initial_weights=False) as (fast, steepest):
        for _ in range(steps):
            steepest.step(F.cross_entropy(fast(task.support_inputs), task.support_targets))
        F.cross_entropy(fast(task.query_inputs), task.query_targets).backward()

    assert_ours_equal({n: p.grad for n, p in module.named_parameters()}, Fixed(RATE), steps)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_meta_sgd_of_higher(steps):
    higher = pytest.importorskip("higher", reason="higher is not installed")
    module, task = network(), draw_task()
    rates = {
        f"rate/{name}": torch.linspace(0.05, 0.2, param.numel(), dtype=torch.float64)
        .view(param.shape)
        .requires_grad_()
        for name, param in module.named_parameters()
    }
    groups = [{"params": [param]} for param in module.parameters()]
    optimizer = torch.optim.SGD(groups, lr=RATE)
    override = {"lr": list(rates.values())}
    with higher.innerloop_ctx(module, optimizer, copy_initial_weights=False, override=override) as (
        fast,
        steepest,
    ):
        for _ in range(steps):
            steepest.step(F.cross_entropy(fast(task.support_inputs), task.support_targets))
        F.cross_entropy(fast(task.query_inputs), task.query_targets).backward()

    expected = {name: param.grad for name, param in module.named_parameters()}
    expected |= {name: rate.grad for name, rate in rates.items()}
    meta = {name: rate.detach().clone().requires_grad_() for name, rate in rates.items()}
    assert_ours_equal(expected, MetaSGD(), steps, meta)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_maml_of_torchopt(steps):
    torchopt = pytest.importorskip("torchopt", reason="torchopt is not installed")
    module, task = network(), draw_task()
    initial = dict(module.named_parameters())
    optimizer = torchopt.MetaSGD(module, lr=RATE)
    for _ in range(steps):
        optimizer.step(F.cross_entropy(module(task.support_inputs), task.support_targets))
    loss = F.cross_entropy(module(task.query_inputs), task.query_targets)
    gradients = torch.autograd.grad(loss, list(initial.values()))

    assert_ours_equal(dict(zip(initial, gradients, strict=True)), Fixed(RATE), steps)
