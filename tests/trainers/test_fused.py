"""Fused blocks against the same made of torch's functions, and against finite differences."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from trainers import native
from trainers.algorithms import ANIL, IMAML, MAML
from trainers.algorithms.base import initial
from trainers.algorithms.passes import Adaptation
from trainers.backbones import Conv4, ResNet12, fused
from trainers.backbones.convolution import convolve
from trainers.backbones.precision import InBFloat16
from trainers.learner import Learner
from trainers.metrics import ACCURACY
from trainers.outer_gradient import outer_gradient
from trainers.rates import Fixed
from trainers.types import Task

pytestmark = pytest.mark.skipif(not fused.is_available(), reason="no C++ compiler with OpenMP")


def step_by_step(maps, scale, offset, bias, slope, window):
    biased = maps + bias.reshape(-1, 1, 1)
    mean, variance = biased.mean((0, 2, 3)), biased.var((0, 2, 3), correction=0)
    normalised = (biased - mean.reshape(-1, 1, 1)) * (variance + 1e-5).rsqrt().reshape(-1, 1, 1)
    scaled = normalised * scale.reshape(-1, 1, 1) + offset.reshape(-1, 1, 1)
    activated = F.leaky_relu(scaled, slope)
    return F.max_pool2d(activated, 2) if window == 2 else activated


def drawn(shape: tuple[int, ...], seed: int = 0, dtype=torch.float64) -> list[Tensor]:
    """Maps, scale of both signs, offset and bias, which require gradients."""
    generator = torch.Generator().manual_seed(seed)
    channels = shape[1]
    sizes = (shape, (channels,), (channels,), (channels,))
    tensors = [torch.randn(size, generator=generator, dtype=dtype) for size in sizes]
    tensors[1] *= torch.tensor([1, -1] * channels, dtype=dtype)[:channels]
    return [tensor.requires_grad_() for tensor in tensors]


def first_and_second(function, inputs, slope, window):
    """Outputs, first derivatives, and those of a random sum of the first ones."""
    generator = torch.Generator().manual_seed(1)

    def like(tensor: Tensor) -> Tensor:
        return torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)

    outputs = function(*inputs, slope, window)
    cotangent = like(outputs).requires_grad_()
    first = torch.autograd.grad(outputs, inputs, cotangent, create_graph=True)
    weighted = sum((like(part) * part).sum() for part in first[:3])
    return outputs, *first, *torch.autograd.grad(weighted, (*inputs[:2], cotangent))


@pytest.mark.parametrize("window", [1, 2])
@pytest.mark.parametrize("slope", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("shape", [(3, 4, 7, 6), (2, 2, 8, 37), (1, 3, 2, 2), (5, 1, 5, 5)])
def test_equals_the_steps_it_is_made_of(shape, slope, window):
    inputs = drawn(shape)

    found = first_and_second(fused.block, inputs, slope, window)

    expected = first_and_second(step_by_step, inputs, slope, window)
    for part, other in zip(found, expected, strict=True):
        torch.testing.assert_close(part, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("window", [1, 2])
def test_derivatives_are_those_of_finite_differences(window):
    maps, scale, offset, bias = drawn((2, 2, 3, 4))

    def block(maps, scale, offset):
        return fused.block(maps, scale, offset, bias.detach(), 0.1, window)

    assert torch.autograd.gradcheck(block, (maps, scale, offset))
    assert torch.autograd.gradgradcheck(block, (maps, scale, offset))


def test_of_equal_maxima_the_first_gets_the_gradient():
    """As torch's max_pool2d has it."""
    maps = torch.tensor([[1.0, 1.0, 0.0, 2.0], [1.0, 1.0, 2.0, 2.0]], dtype=torch.float64)
    inputs = [maps[None, None].requires_grad_(), *drawn((1, 1, 2, 4))[1:]]
    inputs[1] = inputs[1].detach().abs().requires_grad_()

    found = first_and_second(fused.block, inputs, 0.1, 2)

    expected = first_and_second(step_by_step, inputs, 0.1, 2)
    for part, other in zip(found, expected, strict=True):
        torch.testing.assert_close(part, other)


def test_constant_maps_and_dead_units_have_no_gradient_and_no_nan():
    maps, scale, offset, bias = drawn((2, 2, 4, 4))
    constant = torch.ones_like(maps).requires_grad_()
    dead = (offset - 100).detach().requires_grad_()

    for inputs in ([constant, scale, offset, bias], [maps, scale, dead, bias]):
        found = first_and_second(fused.block, inputs, 0.0, 2)
        expected = first_and_second(step_by_step, inputs, 0.0, 2)
        for part, other in zip(found, expected, strict=True):
            assert part.isfinite().all()
            torch.testing.assert_close(part, other, rtol=1e-8, atol=1e-8)


def test_a_map_that_is_not_a_number_shows():
    maps, *others = drawn((2, 2, 4, 4))
    broken = maps.detach().clone()
    broken[0, 1, 0, 0] = torch.nan

    found = fused.block(broken, *others, 0.0, 2)

    assert found[:, 1].isnan().all() and found[:, 0].isfinite().all()


def test_moments_far_from_zero_keep_their_digits():
    maps, scale, offset, bias = drawn((4, 3, 9, 9), dtype=torch.float32)
    far = (maps + 1000).detach()

    found = fused.block(far, scale, offset, bias, 0.0, 2)

    exact = step_by_step(*(t.double() for t in (far, scale, offset, bias)), 0.0, 2)
    torch.testing.assert_close(found.double(), exact, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("threads", [1, 3])
def test_numbers_do_not_depend_on_threads(threads):
    inputs = drawn((4, 5, 8, 8), dtype=torch.float32)
    expected = first_and_second(fused.block, inputs, 0.0, 2)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = first_and_second(fused.block, inputs, 0.0, 2)
    finally:
        torch.set_num_threads(before)

    assert all(torch.equal(part, other) for part, other in zip(found, expected, strict=True))


def test_bfloat16_maps_have_float32_statistics():
    maps, scale, offset, bias = drawn((8, 3, 16, 16), dtype=torch.float32)
    short = maps.detach().bfloat16()

    found = fused.block(short, scale, offset, bias, 0.0, 2)

    exact = step_by_step(short.double(), *(t.double() for t in (scale, offset, bias)), 0.0, 2)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found, exact.bfloat16(), rtol=2**-7, atol=1e-6)


def test_a_third_derivative_is_refused():
    maps, *others = drawn((2, 1, 4, 4))
    first = torch.autograd.grad(
        (fused.block(maps, *others, 0.0, 2) ** 2).sum(), maps, create_graph=True
    )[0]
    second = torch.autograd.grad((first**2).sum(), maps, create_graph=True)[0]

    with pytest.raises(NotImplementedError, match="--blocks plain"):
        torch.autograd.grad(second.sum(), maps)


@pytest.mark.parametrize(("stride", "kernel"), [(1, 3), (2, 3), (1, 1)])
def test_convolution_has_the_derivatives_of_torch(stride, kernel):
    generator = torch.Generator()

    def derivatives(function):
        maps = torch.randn(3, 2, 6, 7, generator=generator.manual_seed(0), dtype=torch.float64)
        weight = torch.randn(4, 2, kernel, kernel, generator=generator, dtype=torch.float64)
        inputs = (maps.requires_grad_(), weight.requires_grad_())
        outputs = function(*inputs)
        cotangent = torch.randn(outputs.shape, generator=generator, dtype=torch.float64)
        cotangent.requires_grad_()
        first = torch.autograd.grad(outputs, inputs, cotangent, create_graph=True)
        weighted = sum((part * part).sum() for part in first)
        return outputs, *first, *torch.autograd.grad(weighted, (*inputs, cotangent))

    found = derivatives(lambda maps, weight: convolve(maps, weight, stride))
    expected = derivatives(
        lambda maps, weight: F.conv2d(maps, weight, stride=stride, padding=kernel // 2)
    )
    for part, other in zip(found, expected, strict=True):
        torch.testing.assert_close(part, other, rtol=1e-10, atol=1e-10)


def outer_gradients(backbone, algorithm, tasks, **how):
    """Those of weights, float64, for the mean outer loss of the tasks."""
    adaptation = Adaptation(
        backbone=backbone,
        scheme=Fixed(0.1),
        loss=ACCURACY.loss,
        way=3,
        steps=2,
        training=True,
        **how,
    )
    params, meta = initial(algorithm, adaptation, torch.Generator().manual_seed(1), "cpu")
    params = {name: t.detach().double().requires_grad_() for name, t in params.items()}
    learner = Learner(algorithm, adaptation, adaptation, ACCURACY, "cpu")
    outer_gradient(learner, adaptation, params, meta, tasks)
    return {name: tensor.grad for name, tensor in params.items()}


def tasks_of(count: int, size: int) -> Task:
    generator = torch.Generator().manual_seed(3)
    labels = torch.arange(6).expand(count, 6) % 3
    images = torch.rand(2, count, 6, 2, size, size, generator=generator, dtype=torch.float64)
    return Task(images[0], labels, images[1], labels)


CONV4 = Conv4(3, 2, 18, filters=3, leaky_slope=0.01)


@pytest.mark.parametrize(
    ("backbone", "algorithm", "how"),
    [
        (CONV4, MAML(), {}),
        (CONV4, MAML(), {"second_order": False}),
        (CONV4, MAML(), {"batched": True}),
        (CONV4, MAML(), {"bn": "per-step"}),
        (CONV4, MAML(), {"bn": "support"}),
        (CONV4, MAML(), {"recomputed": True}),
        (CONV4, ANIL(), {}),
        (CONV4, ANIL(), {"batched": True}),
        (CONV4, IMAML(), {}),
        (replace(CONV4, downsample="stride"), MAML(), {}),
        (ResNet12(3, 2, 8, filters=2), MAML(), {}),
    ],
)
def test_fused_networks_have_the_outer_gradients_of_plain_ones(backbone, algorithm, how):
    tasks = tasks_of(2, backbone.image_size)

    found = outer_gradients(replace(backbone, fused=True), algorithm, tasks, **how)

    expected = outer_gradients(backbone, algorithm, tasks, **how)
    for name, gradient in expected.items():
        if gradient is not None:
            torch.testing.assert_close(found[name], gradient, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("is_fused", [True, False])
@pytest.mark.parametrize("how", [{}, {"batched": True}, {"recomputed": True}])
def test_second_order_is_not_first_order(how, is_fused):
    """What some compilers take for the same, in silence."""
    tasks, backbone = tasks_of(1, 18), replace(CONV4, fused=is_fused)
    second, first = (
        outer_gradients(backbone, MAML(), tasks, second_order=order, **how)
        for order in (True, False)
    )

    name = "block1.conv.weight"
    assert (second[name] - first[name]).norm() > 1e-3 * second[name].norm()


@pytest.mark.parametrize("is_fused", [True, False])
@pytest.mark.parametrize("batched", [True, False])
def test_bfloat16_networks_are_near_those_of_float32(is_fused, batched):
    backbone = replace(CONV4, fused=is_fused)
    tasks = Task(*(t.float() if t.is_floating_point() else t for t in tasks_of(2, 18)[:4]))
    how = Adaptation(
        backbone=InBFloat16(backbone, "cpu"),
        scheme=Fixed(0.01),
        loss=ACCURACY.loss,
        way=3,
        steps=2,
        training=True,
        batched=batched,
    )
    params, meta = initial(MAML(), how, torch.Generator().manual_seed(1), "cpu")
    results = []
    for adaptation in (how, replace(how, backbone=backbone)):
        learner = Learner(MAML(), adaptation, adaptation, ACCURACY, "cpu")
        outer_gradient(learner, adaptation, params, meta, tasks)
        assert all(p.grad.dtype == torch.float32 for p in params.values())
        results.append({name: p.grad.clone() for name, p in params.items()})

    short, exact = (found["head.weight"] for found in results)
    assert not torch.equal(short, exact)
    assert (short - exact).norm() < 0.2 * exact.norm()


def test_without_a_compiler_there_is_no_library(monkeypatch, tmp_path):
    monkeypatch.setenv("EPISODES_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)

    assert native.library.__wrapped__("fused_block") is None


def test_a_compiler_that_fails_leaves_nothing_behind(monkeypatch, tmp_path):
    compiler = tmp_path / "failing"
    compiler.write_text("#!/bin/sh\n[ $1 = --version ] && echo 1 || exit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("EPISODES_HOME", str(tmp_path))
    monkeypatch.setenv("CXX", str(compiler))

    assert native.library.__wrapped__("fused_block") is None
    assert not list((tmp_path / "compiled").iterdir())
