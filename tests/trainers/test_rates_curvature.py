from functools import reduce

import pytest
import torch

from episodes.errors import UsageError
from tests.trainers.rate_problems import assert_outer_gradient, assert_same_steps
from tests.trainers.tiny_network import INFOS, adapt_quadratic, assert_batch_equals_loop
from trainers.backbones import Conv4
from trainers.rates import Fixed
from trainers.rates.base import InnerStep
from trainers.rates.curvature import MetaCurvature
from trainers.types import ParamInfo


def step(shape, seed=0, lr=0.5):
    """One step of a tensor of that shape by random curvature: the step, its matrices, the rate."""
    info = ParamInfo("w", shape, "w", "conv", True)
    generator = torch.Generator().manual_seed(seed)
    scheme = MetaCurvature(lr)
    meta = {
        name: torch.randn(start.shape, generator=generator, dtype=torch.float64)
        for name, start in scheme.init([info], 5, generator).items()
    }
    grad = torch.randn(shape, generator=generator, dtype=torch.float64)
    zero, loss = torch.zeros_like(grad), torch.ones((), dtype=torch.float64)
    at = InnerStep(0, 5, [info], {"w": zero}, {"w": grad}, loss, loss, loss)
    update = scheme.step(meta, at, {})
    return -update.params["w"] / lr, grad, list(meta.values()), update.rates.item() / lr


def test_two_steps_by_hand():
    meta = {
        "curvature.out/w.weight": torch.tensor([[4.0]], dtype=torch.float64),
        "curvature.in/w.weight": torch.tensor([[0.5]], dtype=torch.float64),
    }

    value, trace = adapt_quadratic(MetaCurvature(0.1), meta, steps=2)

    # Each step of rate .1 * 4 / 2 leaves 1 - .2 * 3 = .4 of the distance 1.5 to the minimum.
    assert value == pytest.approx(0.5 + 1.5 * 0.16)
    assert trace.rates.tolist() == [[0.2], [0.2]]


@pytest.mark.parametrize("shape", [(4, 3, 2, 5), (4, 3, 5), (2, 3, 2, 2, 2), (4, 3)])
def test_step_is_the_kronecker_product_of_the_matrices(shape):
    moved, grad, matrices, rate = step(shape)

    whole = reduce(torch.kron, matrices)
    torch.testing.assert_close(moved, (whole @ grad.flatten()).view(shape))
    assert rate == pytest.approx(whole.diagonal().mean().item())


def test_linear_layer_by_hand():
    moved, grad, (m_out, m_in), _ = step((4, 3))

    torch.testing.assert_close(moved, m_out @ grad @ m_in.T)


def test_convolution_as_nested_sums():
    moved, grad, (m_out, m_in, m_kernel), _ = step((2, 3, 1, 2))

    # 1 x 2 kernels: the last index is the kernel's position.
    for o in range(2):
        for i in range(3):
            for k in range(2):
                value = sum(
                    m_out[o, p] * m_in[i, q] * m_kernel[k, r] * grad[p, q, 0, r]
                    for p in range(2)
                    for q in range(3)
                    for r in range(2)
                )
                assert moved[o, i, 0, k].item() == pytest.approx(value.item())


@pytest.mark.parametrize("shape", [(5,), ()])
def test_tensors_of_one_axis_are_multiplied_elementwise(shape):
    moved, grad, (scale,), rate = step(shape)

    torch.testing.assert_close(moved, scale * grad)
    assert rate == pytest.approx(scale.mean().item())


def test_shapes_and_start():
    meta = MetaCurvature().init(INFOS, 5, torch.Generator())

    assert {name: tuple(start.shape) for name, start in meta.items()} == {
        "curvature.out/conv.weight": (2, 2),
        "curvature.in/conv.weight": (1, 1),
        "curvature.kernel/conv.weight": (9, 9),
        "curvature/conv.bias": (2,),
        "curvature/norm.weight": (2,),
        "curvature/norm.bias": (2,),
        "curvature.out/hidden.weight": (2, 2),
        "curvature.in/hidden.weight": (8, 8),
        "curvature/hidden.bias": (2,),
        "curvature.out/head.weight": (1, 1),
        "curvature.in/head.weight": (2, 2),
        "curvature/head.bias": (1,),
    }
    for start in meta.values():
        assert start.dtype == torch.float32
        identity = torch.eye(len(start)) if start.ndim == 2 else torch.ones(len(start))
        assert torch.equal(start, identity)


def test_size_on_conv4():
    infos = Conv4(way=5, in_channels=3, image_size=84).param_infos(lambda role: True)
    meta = MetaCurvature().init(infos, 5, torch.Generator())

    first, others = 64**2 + 3**2 + 9**2, 3 * (64**2 + 64**2 + 9**2)
    head, vectors = 5**2 + 1600**2, 4 * 3 * 64 + 5
    assert sum(start.numel() for start in meta.values()) == first + others + head + vectors


def test_identity_equals_fixed():
    assert_same_steps(MetaCurvature(0.1), Fixed(0.1))


@pytest.mark.parametrize("second_order", [True, False])
def test_outer_gradient(second_order):
    assert_outer_gradient(MetaCurvature(0.1), steps=2, second_order=second_order)


def test_batched_equals_looped():
    assert_batch_equals_loop(MetaCurvature(0.1))


@pytest.mark.parametrize("lr", [-0.1, float("nan")])
def test_unusable_rates_are_refused(lr):
    with pytest.raises(UsageError, match=f"curvature rate: lr is {lr}"):
        MetaCurvature(lr)
