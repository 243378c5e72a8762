from math import prod

import pytest
import torch
from torch import nn

from episodes.errors import UsageError
from trainers.backbones import Conv4


def features_and_logits(backbone, params, images, moments=None):
    features = backbone.features(params, images, moments)
    return features, backbone.logits(params, features)


def own_moments(backbone, params, images):
    moments = []
    backbone.features(params, images, collect=moments)
    return moments


@pytest.mark.parametrize("downsample", ["pool", "stride"])
@pytest.mark.parametrize("image_size", [16, 28, 33])
def test_equals_the_same_network_out_of_torch_modules(downsample, image_size, initial, sequential):
    backbone = Conv4(3, 2, image_size, filters=4, downsample=downsample)
    params = initial(backbone)
    images = torch.rand(6, 2, image_size, image_size, dtype=torch.float64)

    _, logits = features_and_logits(backbone, params, images)

    torch.testing.assert_close(logits, sequential(backbone, params)(images))


def test_leaky_slope_is_that_of_leaky_relu(initial, sequential):
    backbone = Conv4(3, 2, 16, filters=4, leaky_slope=0.3)
    params = initial(backbone)
    images = torch.rand(6, 2, 16, 16, dtype=torch.float64)
    module = sequential(backbone, params)
    for block in module[:4]:
        block[2] = nn.LeakyReLU(0.3)

    _, logits = features_and_logits(backbone, params, images)

    torch.testing.assert_close(logits, module(images))


@pytest.mark.parametrize(
    ("backbone", "features"),
    [
        (Conv4(5, 3, 84), 1600),
        (Conv4(5, 1, 28), 64),
        (Conv4(5, 1, 28, downsample="stride"), 64),
        (Conv4(5, 3, 32), 256),
    ],
)
def test_feature_count(backbone, features):
    params = backbone.init(torch.Generator().manual_seed(0))
    images = torch.rand(2, backbone.in_channels, backbone.image_size, backbone.image_size)

    assert backbone.feature_count == features
    assert backbone.features(params, images).shape == (2, features)
    assert params["head.weight"].shape == (5, features)


def test_parameter_count_of_the_papers():
    infos = Conv4(way=5, in_channels=3, image_size=84).param_infos(lambda role: True)

    assert sum(prod(info.shape) for info in infos) == 121_093


def test_param_infos_describe_what_init_draws():
    backbone = Conv4(5, 3, 32, filters=8)
    params = backbone.init(torch.Generator().manual_seed(0))
    infos = backbone.param_infos(lambda role: role == "head")

    assert [(info.name, info.shape) for info in infos] == [
        (name, tuple(param.shape)) for name, param in params.items()
    ]
    assert [info.name for info in infos if info.adapted] == ["head.weight", "head.bias"]
    assert [(info.module, info.role) for info in infos[4:8]] == [
        ("block2.conv", "conv"),
        ("block2.conv", "bias"),
        ("block2.norm", "norm"),
        ("block2.norm", "norm"),
    ]


@pytest.mark.parametrize("downsample", ["pool", "stride"])
def test_init_draws_what_torch_modules_draw(downsample, sequential):
    backbone = Conv4(5, 3, 32, downsample=downsample)
    with torch.random.fork_rng():
        torch.manual_seed(7)
        module = sequential(backbone)

    params = backbone.init(torch.Generator().manual_seed(7))

    for ours, theirs in zip(params.values(), module.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs.data)


def test_xavier_start_is_torch_modules_reset_by_xavier_uniform(sequential):
    backbone = Conv4(5, 3, 32, weight_init="xavier")
    module = sequential(backbone)
    generator = torch.Generator().manual_seed(7)
    for name, param in module.named_parameters():
        if param.ndim > 1:
            nn.init.xavier_uniform_(param, generator=generator)
        elif name.endswith("bias"):
            nn.init.zeros_(param)

    params = backbone.init(torch.Generator().manual_seed(7))

    for ours, theirs in zip(params.values(), module.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs.data)


def test_moments_are_what_batch_norm_collects(backbone, initial, sequential):
    params = initial(backbone)
    images = torch.rand(3, 1, 16, 16, dtype=torch.float64)
    module = sequential(backbone, params, momentum=1.0).train()

    moments = own_moments(backbone, params, images)
    module(images)

    norms = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
    for (mean, variance), norm, side in zip(moments, norms, (16, 8, 4, 2), strict=True):
        values = 3 * side * side
        torch.testing.assert_close(mean, norm.running_mean)
        torch.testing.assert_close(variance * values / (values - 1), norm.running_var)


def test_given_moments_normalise_as_running_statistics_do(backbone, initial, sequential):
    params = initial(backbone)
    support, query = torch.rand(2, 4, 1, 16, 16, dtype=torch.float64)
    module = sequential(backbone, params).eval()
    norms = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
    moments = own_moments(backbone, params, support)
    for norm, (mean, variance) in zip(norms, moments, strict=True):
        norm.running_mean, norm.running_var = mean.detach(), variance.detach()

    _, logits = features_and_logits(backbone, params, query, moments)

    torch.testing.assert_close(logits, module(query))


def test_own_moments_given_change_nothing(backbone, initial):
    params = initial(backbone)
    images = torch.rand(4, 1, 16, 16, dtype=torch.float64)

    given = backbone.features(params, images, own_moments(backbone, params, images))

    torch.testing.assert_close(given, backbone.features(params, images))


def test_gradient_flows_through_given_moments(backbone, initial):
    params = initial(backbone)
    support, query = torch.rand(2, 2, 1, 16, 16, dtype=torch.float64)
    support.requires_grad_()

    features = backbone.features(params, query, own_moments(backbone, params, support))
    (gradient,) = torch.autograd.grad(features.square().sum(), support)

    assert gradient.abs().max() > 1e-6


def test_convolution_bias_before_batch_norm_has_no_gradient(backbone, initial):
    params = initial(backbone)
    images = torch.rand(4, 1, 16, 16, dtype=torch.float64)

    _, logits = features_and_logits(backbone, params, images)
    grads = torch.autograd.grad(logits.logsumexp(-1).sum(), list(params.values()))

    sizes = {name: grad.abs().max() for name, grad in zip(params, grads, strict=True)}
    assert max(size for name, size in sizes.items() if name.endswith("conv.bias")) < 1e-12
    assert min(size for name, size in sizes.items() if not name.endswith("conv.bias")) > 1e-6


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"image_size": 15}, "15x15.*16x16"),
        ({"way": 1}, "way is 1"),
        ({"filters": 0}, "filters is 0"),
        ({"in_channels": 0}, "in_channels is 0"),
        ({"downsample": "strides"}, "did you mean 'stride'"),
        ({"weight_init": "xaver"}, "did you mean 'xavier'"),
        ({"leaky_slope": 1.0}, "leaky_slope is 1.0"),
        ({"leaky_slope": -0.1}, "leaky_slope is -0.1"),
    ],
)
def test_fields_out_of_range_are_refused(fields, message):
    with pytest.raises(UsageError, match=message):
        Conv4(**{"way": 5, "in_channels": 1, "image_size": 28} | fields)


def test_strided_network_takes_images_too_small_to_pool():
    assert Conv4(5, 1, 8, downsample="stride").feature_count == 64


def test_images_of_another_shape_are_refused(backbone, initial):
    with pytest.raises(UsageError, match=r"\(3, 16, 16\).*expected \(1, 16, 16\)"):
        backbone.features(initial(backbone), torch.rand(2, 3, 16, 16, dtype=torch.float64))
