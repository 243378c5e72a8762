from itertools import pairwise
from math import prod

import pytest
import torch
from torch import nn

from episodes.errors import UsageError
from trainers.backbones import MLP


def plain(backbone: MLP, params=None) -> nn.Sequential:
    widths = (backbone.inputs, *backbone.hidden)
    hidden = [layer for pair in pairwise(widths) for layer in (nn.Linear(*pair), nn.ReLU())]
    module = nn.Sequential(nn.Flatten(), *hidden, nn.Linear(widths[-1], backbone.outputs))
    if params is not None:
        module.double()
        for target, source in zip(module.parameters(), params.values(), strict=True):
            target.data.copy_(source)
    return module


@pytest.mark.parametrize(
    ("backbone", "shape"),
    [
        (MLP(1, 1), (7, 1)),
        (MLP(1, 1, (80, 80, 80)), (7, 1)),
        (MLP(12, 5, (6,)), (7, 3, 2, 2)),
        (MLP(4, 3, ()), (7, 4)),
    ],
)
def test_equals_the_same_network_out_of_torch_modules(backbone, shape, initial):
    params = initial(backbone)
    inputs = torch.randn(shape, dtype=torch.float64)

    features = backbone.features(params, inputs)

    assert features.shape == (7, backbone.feature_count)
    torch.testing.assert_close(backbone.logits(params, features), plain(backbone, params)(inputs))


def test_hand_computed_outputs():
    params = {
        "hidden1.weight": torch.tensor([[2.0], [-1.0]]),
        "hidden1.bias": torch.tensor([1.0, 1.0]),
        "head.weight": torch.tensor([[3.0, -4.0]]),
        "head.bias": torch.tensor([0.5]),
    }
    backbone = MLP(1, 1, (2,))

    features = backbone.features(params, torch.tensor([[2.0], [-2.0]]))

    assert features.tolist() == [[5.0, 0.0], [0.0, 3.0]]
    assert backbone.logits(params, features).tolist() == [[15.5], [-11.5]]


@pytest.mark.parametrize(("hidden", "count"), [((40, 40), 1761), ((80, 80, 80), 13_201), ((), 2)])
def test_parameter_count(hidden, count):
    infos = MLP(1, 1, hidden).param_infos(lambda role: True)

    assert sum(prod(info.shape) for info in infos) == count


def test_names_and_roles():
    infos = MLP(1, 1).param_infos(lambda role: role == "linear")

    assert [(info.name, info.module, info.role, info.adapted) for info in infos] == [
        ("hidden1.weight", "hidden1", "linear", True),
        ("hidden1.bias", "hidden1", "bias", False),
        ("hidden2.weight", "hidden2", "linear", True),
        ("hidden2.bias", "hidden2", "bias", False),
        ("head.weight", "head", "head", False),
        ("head.bias", "head", "head", False),
    ]


def test_init_draws_what_torch_modules_draw():
    backbone = MLP(3, 2, (8, 6))
    with torch.random.fork_rng():
        torch.manual_seed(7)
        module = plain(backbone)

    params = backbone.init(torch.Generator().manual_seed(7))

    for ours, theirs in zip(params.values(), module.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs.data)


def test_xavier_start():
    params = MLP(30, 2, (50,), weight_init="xavier").init(torch.Generator().manual_seed(0))
    bound = (6 / 80) ** 0.5

    assert params["hidden1.bias"].count_nonzero() == 0 == params["head.bias"].count_nonzero()
    assert 0.99 * bound < params["hidden1.weight"].abs().max() <= bound


def test_it_has_no_moments(initial):
    backbone, collected = MLP(1, 1), []
    params, inputs = initial(backbone), torch.rand(3, 1, dtype=torch.float64)

    features = backbone.features(params, inputs, [], collected)

    assert collected == []
    assert torch.equal(features, backbone.features(params, inputs))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"inputs": 0}, "inputs is 0"),
        ({"outputs": 0}, "outputs is 0"),
        ({"hidden": (40, 0)}, r"\(40, 0\), expected each at least 1"),
        ({"weight_init": "torchh"}, "did you mean 'torch'"),
    ],
)
def test_fields_out_of_range_are_refused(fields, message):
    with pytest.raises(UsageError, match=message):
        MLP(**{"inputs": 1, "outputs": 1} | fields)


def test_inputs_of_another_size_are_refused(initial):
    backbone = MLP(2, 1)
    with pytest.raises(UsageError, match="inputs of 3 values given, expected 2"):
        backbone.features(initial(backbone), torch.rand(4, 3, dtype=torch.float64))
