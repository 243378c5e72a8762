from itertools import pairwise
from math import prod

import pytest
import torch
from torch import nn

from episodes.errors import UsageError
from trainers.backbones import ResNet12


class Block(nn.Module):
    """A block of ALFA's ResNet12, its layers registered in the order of `ResNet12.init`."""

    def __init__(self, inputs: int, width: int, pool: nn.Module) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.Conv2d(inputs, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width, momentum=1.0),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width, momentum=1.0),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width, momentum=1.0),
        )
        self.shortcut = nn.Sequential(
            nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width, momentum=1.0)
        )
        self.pool = pool

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return self.pool(torch.relu(self.inner(maps) + self.shortcut(maps)))


def plain(backbone: ResNet12, params=None) -> nn.Sequential:
    widths = [backbone.in_channels] + [backbone.filters * factor for factor in (1, 2, 4, 8)]
    pools = [nn.MaxPool2d(2), nn.MaxPool2d(2), nn.MaxPool2d(2, padding=1), nn.Identity()]
    blocks = [Block(*pair, pool) for pair, pool in zip(pairwise(widths), pools, strict=True)]
    head = nn.Linear(widths[-1], backbone.way)
    module = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head).double()
    if params is not None:
        for target, source in zip(module.parameters(), params.values(), strict=True):
            target.data.copy_(source)
    return module


@pytest.mark.parametrize("image_size", [4, 9, 21, 32])
def test_equals_the_same_network_out_of_torch_modules(image_size, initial):
    backbone = ResNet12(3, 2, image_size, filters=2)
    params = initial(backbone)
    images = torch.rand(6, 2, image_size, image_size, dtype=torch.float64)
    module = plain(backbone, params)
    norms = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
    moments = []

    logits = backbone.logits(params, backbone.features(params, images, collect=moments))

    torch.testing.assert_close(logits, module(images))
    for (mean, _), norm in zip(moments, norms, strict=True):
        torch.testing.assert_close(mean, norm.running_mean)


def test_given_moments_normalise_as_running_statistics_do(initial):
    backbone = ResNet12(3, 2, 9, filters=2)
    params = initial(backbone)
    support, query = torch.rand(2, 6, 2, 9, 9, dtype=torch.float64)
    moments = []
    backbone.features(params, support, collect=moments)
    module = plain(backbone, params).eval()
    norms = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
    for norm, (mean, variance) in zip(norms, moments, strict=True):
        norm.running_mean, norm.running_var = mean.detach(), variance.detach()

    logits = backbone.logits(params, backbone.features(params, query, moments))

    torch.testing.assert_close(logits, module(query))


def test_the_third_pooling_is_padded_and_the_fourth_left_out():
    sizes = []
    module = plain(ResNet12(5, 3, 84, filters=1))
    for block in module[:4]:
        block.register_forward_hook(lambda _, __, maps: sizes.append(maps.shape[-1]))

    module(torch.rand(2, 3, 84, 84, dtype=torch.float64))

    assert sizes == [42, 21, 11, 11]


@pytest.mark.parametrize(("in_channels", "count"), [(3, 7_999_365), (1, 7_998_085)])
def test_parameter_count_of_alfa(in_channels, count):
    infos = ResNet12(5, in_channels, 84).param_infos(lambda role: True)

    assert sum(prod(info.shape) for info in infos) == count
    assert ResNet12(5, in_channels, 84).feature_count == 512


def test_roles_and_the_tensors_that_alfa_adapts():
    infos = ResNet12(5, 3, 84).param_infos(lambda role: role != "norm")

    assert [(info.name, info.role) for info in infos[:3]] == [
        ("block1.conv1.weight", "conv"),
        ("block1.norm1.weight", "norm"),
        ("block1.norm1.bias", "norm"),
    ]
    assert sum(info.adapted for info in infos) == 18
    assert {info.role for info in infos} == {"conv", "norm", "head"}


@pytest.mark.parametrize("weight_init", ["torch", "xavier"])
def test_init_draws_what_torch_draws(weight_init):
    backbone = ResNet12(5, 3, 28, filters=4, weight_init=weight_init)
    module = plain(backbone).float()
    with torch.random.fork_rng():
        torch.manual_seed(7)
        for layer in module.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                layer.reset_parameters()
                if weight_init == "xavier":
                    layer.bias is None or nn.init.zeros_(layer.bias)
    if weight_init == "xavier":
        generator = torch.Generator().manual_seed(7)
        for param in module.parameters():
            if param.ndim > 1:
                nn.init.xavier_uniform_(param, generator=generator)

    params = backbone.init(torch.Generator().manual_seed(7))

    for ours, theirs in zip(params.values(), module.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs.data)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"image_size": 3}, "image_size is 3, expected at least 4"),
        ({"way": 1}, "way is 1"),
        ({"filters": 0}, "filters is 0"),
        ({"in_channels": 0}, "in_channels is 0"),
        ({"weight_init": "torc"}, "did you mean 'torch'"),
    ],
)
def test_fields_out_of_range_are_refused(fields, message):
    with pytest.raises(UsageError, match=message):
        ResNet12(**{"way": 5, "in_channels": 1, "image_size": 28} | fields)


def test_images_of_another_shape_are_refused(initial):
    backbone = ResNet12(5, 1, 9, filters=2)
    with pytest.raises(UsageError, match=r"resnet12: .*\(1, 8, 9\).*expected \(1, 9, 9\)"):
        backbone.features(initial(backbone), torch.rand(2, 1, 8, 9, dtype=torch.float64))
