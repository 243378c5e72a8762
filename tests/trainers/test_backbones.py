"""What holds for every backbone, and choosing one by name."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import grad, vmap

from episodes.errors import UsageError
from trainers import backbones
from trainers.backbones import MLP, Conv4, Module, ResNet12


def small_net() -> nn.Module:
    """A network with every kind of batch norm: of maps and of vectors, without scale."""
    return nn.Sequential(
        nn.Conv2d(2, 3, 3),
        nn.BatchNorm2d(3, eps=1e-3),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(27, 6),
        nn.BatchNorm1d(6, affine=False),
        nn.ReLU(),
        nn.Linear(6, 3),
    )


NORMALISED = {
    "pool": (lambda: Conv4(3, 2, 16, filters=3), (2, 16, 16)),
    "stride": (lambda: Conv4(3, 2, 8, filters=3, downsample="stride"), (2, 8, 8)),
    "leaky": (lambda: Conv4(3, 2, 16, 3, leaky_slope=0.1, weight_init="xavier"), (2, 16, 16)),
    "resnet12": (lambda: ResNet12(3, 2, 9, filters=2), (2, 9, 9)),
    "module": (lambda: Module(small_net()), (2, 5, 5)),
}
EVERY = NORMALISED | {
    "mlp": (lambda: MLP(4, 3, (5, 6)), (4,)),
    "linear": (lambda: MLP(4, 3, ()), (4,)),
}


@pytest.fixture(params=EVERY)
def case(request):
    build, shape = EVERY[request.param]
    torch.manual_seed(3)
    return build(), shape


@pytest.fixture(params=NORMALISED)
def normalised(request):
    build, shape = NORMALISED[request.param]
    torch.manual_seed(3)
    return build(), shape


def loss_of(backbone, params, inputs, labels, moments=None):
    features = backbone.features(params, inputs, moments)
    return F.cross_entropy(backbone.logits(params, features), labels)


def outer_loss(backbone, params, support, query, labels):
    """The query loss after one inner step, by its own moments plus by the support set's."""
    grads = grad(lambda weights: loss_of(backbone, weights, support, labels))(params)
    fast = {name: param - 0.1 * grads[name] for name, param in params.items()}
    moments = []
    backbone.features(fast, support, collect=moments)
    own = loss_of(backbone, fast, query, labels)
    return own + loss_of(backbone, fast, query, labels, moments)


def test_param_infos_describe_what_init_returns(case):
    backbone, _ = case
    params = backbone.init(torch.Generator().manual_seed(0))
    infos = backbone.param_infos(lambda role: role == "head")

    assert [(info.name, info.shape) for info in infos] == [
        (name, tuple(param.shape)) for name, param in params.items()
    ]
    assert [info.adapted for info in infos] == [info.role == "head" for info in infos]
    assert [info.module for info in infos] == [name.rpartition(".")[0] for name in params]
    assert sum(info.adapted for info in infos) == 2
    assert {param.dtype for param in params.values()} == {torch.float32}


def test_init_hands_out_tensors_of_the_callers_own(case):
    backbone, _ = case
    first, second = (backbone.init(torch.Generator().manual_seed(0)) for _ in range(2))
    for tensor in first.values():
        tensor.fill_(7.0)

    again = backbone.init(torch.Generator().manual_seed(0))

    assert all(torch.equal(again[name], second[name]) for name in second)


def test_weights_and_inputs_of_a_task_each_batched_equal_a_loop(case, initial):
    backbone, shape = case
    tasks = [initial(backbone, seed) for seed in range(3)]
    stacked = {name: torch.stack([task[name].detach() for task in tasks]) for name in tasks[0]}
    support, query = torch.rand(2, 3, 6, *shape, dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 2, 1, 0])

    def one(params, support, query):
        return grad(lambda params: outer_loss(backbone, params, support, query, labels))(params)

    batched = vmap(one)(stacked, support, query)

    for index in range(3):
        params = {name: param[index] for name, param in stacked.items()}
        looped = one(params, support[index], query[index])
        for name in looped:
            torch.testing.assert_close(batched[name][index], looped[name], rtol=0, atol=1e-10)


def test_meta_gradient_against_central_differences(case, initial):
    backbone, shape = case
    params = {name: param.detach() for name, param in initial(backbone, seed=5).items()}
    generator = torch.Generator().manual_seed(1)
    inputs = torch.rand(2, 6, *shape, generator=generator, dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 2, 1, 0])
    direction = {
        name: torch.randn(param.shape, generator=generator, dtype=torch.float64)
        for name, param in params.items()
    }

    def outer(shift):
        moved = {name: param + shift * direction[name] for name, param in params.items()}
        return outer_loss(backbone, moved, *inputs, labels)

    # Small, because ReLU and max-pooling make the inner gradient jump between nearby weights.
    step = 1e-7
    found = grad(lambda params: outer_loss(backbone, params, *inputs, labels))(params)
    along = sum((found[name] * direction[name]).sum() for name in found)

    torch.testing.assert_close(along, (outer(step) - outer(-step)) / (2 * step), rtol=1e-6, atol=0)


def test_collecting_moments_changes_no_feature(normalised, initial):
    backbone, shape = normalised
    params, inputs = initial(backbone), torch.rand(6, *shape, dtype=torch.float64)

    assert torch.equal(
        backbone.features(params, inputs, collect=[]), backbone.features(params, inputs)
    )


def test_own_moments_given_change_nothing(normalised, initial):
    backbone, shape = normalised
    params, inputs = initial(backbone), torch.rand(6, *shape, dtype=torch.float64)
    moments, again = [], []
    features = backbone.features(params, inputs, collect=moments)

    given = backbone.features(params, inputs, moments, again)

    torch.testing.assert_close(given, features)
    assert len(again) == len(moments) > 0
    torch.testing.assert_close(again, moments)


def test_inputs_do_not_meet_each_other_under_given_moments(normalised, initial):
    backbone, shape = normalised
    params = initial(backbone)
    support, query = torch.rand(2, 6, *shape, dtype=torch.float64)
    moments = []
    backbone.features(params, support, collect=moments)

    together = backbone.features(params, query, moments)
    alone = backbone.features(params, query[2:3], moments)

    torch.testing.assert_close(together[2:3], alone)


def test_too_few_moments_are_refused(normalised, initial):
    backbone, shape = normalised
    params, inputs = initial(backbone), torch.rand(6, *shape, dtype=torch.float64)
    moments = []
    backbone.features(params, inputs, collect=moments)

    with pytest.raises(UsageError, match="fewer moments given"):
        backbone.features(params, inputs, moments[:-1])


def test_build_by_name():
    assert backbones.build("conv4", way=5, in_channels=1, image_size=28) == Conv4(5, 1, 28)
    with pytest.raises(UsageError, match="did you mean 'conv4'"):
        backbones.build("conv5")


@pytest.mark.parametrize(
    ("name", "shape", "settings", "expected"),
    [
        ("conv4", (3, 84, 84), {"filters": 48}, Conv4(5, 3, 84, filters=48)),
        ("resnet12", (1, 28, 28), {}, ResNet12(5, 1, 28)),
        ("mlp", (1, 28, 28), {"hidden": "256, 64"}, MLP(784, 5, (256, 64))),
        ("mlp", (1,), {"hidden": (80,)}, MLP(1, 5, (80,))),
    ],
)
def test_for_shape(name, shape, settings, expected):
    assert backbones.for_shape(name, shape, 5, **settings) == expected


@pytest.mark.parametrize(
    ("name", "shape", "settings", "message"),
    [
        ("conv4", (1,), {}, r"conv4: inputs of shape \(1,\).*use backbone mlp"),
        ("resnet12", (3, 28, 32), {}, r"\(3, 28, 32\), expected square images"),
        ("renset12", (3, 28, 28), {}, "did you mean 'resnet12'"),
        ("mlp", (1,), {"hidden": "40x40"}, "'40x40', expected numbers of 1 to 65536"),
        ("mlp", (1,), {"hidden": "40,0"}, "'40,0', expected"),
        ("mlp", (1,), {"hidden": ""}, "'', expected"),
    ],
)
def test_for_shape_refuses(name, shape, settings, message):
    with pytest.raises(UsageError, match=message):
        backbones.for_shape(name, shape, 5, **settings)
