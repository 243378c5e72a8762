import pytest
import torch
from torch import nn
from torch.func import functional_call
from torchvision.models import resnet18

from episodes.errors import UsageError
from trainers.backbones import Module


class Net(nn.Module):
    """Layers of many types, the head registered before the last of them."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(2, 1, 1))
        self.conv = nn.Conv2d(2, 4, 3, bias=False)
        self.slope = nn.PReLU()
        self.group = nn.GroupNorm(2, 4)
        self.batch = nn.BatchNorm2d(4)
        self.classifier = nn.Linear(4, 3)
        self.mixing = nn.Linear(4, 4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps = self.batch(self.group(self.slope(self.conv(self.scale * images))))
        return self.classifier(torch.tanh(self.mixing(maps.mean((2, 3)))))


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def start(backbone):
    return backbone.init(torch.Generator().manual_seed(0))


def outputs_of(backbone, params, inputs, moments=None, collect=None):
    return backbone.logits(params, backbone.features(params, inputs, moments, collect))


def batch_norms(net):
    return [layer for layer in net.modules() if isinstance(layer, nn.BatchNorm2d)]


def test_equals_the_module_in_training_mode():
    net = Net().double().train()
    images = torch.rand(5, 2, 6, 6, dtype=torch.float64)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    backbone = Module(net, head="classifier")

    ours = outputs_of(backbone, start(backbone), images)

    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    torch.testing.assert_close(ours, net(images))


def test_gradients_equal_the_modules():
    net = Net().double().train()
    images = torch.rand(5, 2, 6, 6, dtype=torch.float64)
    backbone = Module(net, head="classifier")
    params = {name: param.requires_grad_() for name, param in start(backbone).items()}

    ours = torch.autograd.grad(
        outputs_of(backbone, params, images).square().sum(), list(params.values())
    )
    net(images).square().sum().backward()

    theirs = {name: param.grad for name, param in net.named_parameters()}
    for name, grad in zip(params, ours, strict=True):
        torch.testing.assert_close(grad, theirs[name])


def test_evaluation_mode_uses_batch_moments_too():
    net = Net().eval()
    images = torch.rand(5, 2, 6, 6)
    backbone = Module(net, head="classifier")

    ours = outputs_of(backbone, start(backbone), images)

    torch.testing.assert_close(ours, net.train()(images))


def test_resnet18_of_torchvision():
    net = resnet18(num_classes=4).double().train()
    images = torch.rand(2, 2, 3, 32, 32, dtype=torch.float64)
    backbone = Module(net)
    params, moments = start(backbone), []

    ours = outputs_of(backbone, params, images[0], collect=moments)

    torch.testing.assert_close(ours, net(images[0]))
    # In the order of the pass, a block's shortcut last, which is torchvision's order too.
    norms = batch_norms(net)
    assert len(moments) == len(norms) == 20
    for norm, (mean, variance) in zip(norms, moments, strict=True):
        torch.testing.assert_close(0.1 * mean, norm.running_mean)
        norm.running_mean, norm.running_var = mean, variance
    torch.testing.assert_close(
        outputs_of(backbone, params, images[1], moments), net.eval()(images[1])
    )


def test_wrapped_conv4_equals_conv4(backbone, initial, sequential):
    images = torch.rand(2, 4, 1, 16, 16, dtype=torch.float64)
    params, moments = initial(backbone), []
    backbone.features(params, images[0], collect=moments)
    wrapped = Module(sequential(backbone, params))
    own = dict(zip(start(wrapped), params.values(), strict=True))

    assert [info.role for info in wrapped.param_infos(lambda role: True)] == [
        info.role for info in backbone.param_infos(lambda role: True)
    ]
    torch.testing.assert_close(
        outputs_of(wrapped, own, images[1], moments),
        outputs_of(backbone, params, images[1], moments),
    )


def test_names_roles_and_values_are_the_modules():
    net = Net()
    backbone = Module(net, head="classifier")
    infos = backbone.param_infos(lambda role: role != "norm")

    assert {info.name: info.role for info in infos} == {
        "scale": "linear",
        "conv.weight": "conv",
        "slope.weight": "bias",
        "group.weight": "norm",
        "group.bias": "norm",
        "batch.weight": "norm",
        "batch.bias": "norm",
        "classifier.weight": "head",
        "classifier.bias": "head",
        "mixing.weight": "linear",
        "mixing.bias": "bias",
    }
    assert [info.name for info in infos] == [name for name, _ in net.named_parameters()]
    for name, param in net.named_parameters():
        assert torch.equal(start(backbone)[name], param)


def test_adapted_weights_go_back_into_the_module():
    net = Net().train()
    images = torch.rand(5, 2, 6, 6)
    backbone = Module(net, head="classifier")
    moved = {name: param + 0.1 for name, param in start(backbone).items()}

    torch.testing.assert_close(
        outputs_of(backbone, moved, images), functional_call(net, moved, (images,))
    )


def test_frozen_parameters_and_buffers_are_constants_of_the_parameters_type():
    net = Net()
    net.conv.requires_grad_(False)
    net.batch.requires_grad_(False)
    net.register_buffer("shift", torch.tensor(2.0))
    images = torch.rand(5, 2, 6, 6, dtype=torch.float64)
    backbone = Module(net, head="classifier")
    params = {name: param.double() for name, param in start(backbone).items()}

    ours = outputs_of(backbone, params, images)

    assert not any(name.startswith(("conv.", "batch.")) for name in params)
    torch.testing.assert_close(ours, net.double().train()(images))


def test_a_layer_used_twice_is_one_layer():
    norm, linear = nn.BatchNorm1d(3), nn.Linear(3, 3)
    net = nn.Sequential(linear, norm, nn.Tanh(), linear, norm, nn.Linear(3, 2)).double()
    inputs = torch.rand(5, 3, dtype=torch.float64)
    backbone, moments = Module(net), []
    params = start(backbone)

    ours = outputs_of(backbone, params, inputs, collect=moments)

    assert len(params) == 6 and len(moments) == 2
    torch.testing.assert_close(ours, net(inputs))
    torch.testing.assert_close(outputs_of(backbone, params, inputs, moments), ours)


def test_head_without_bias():
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2, bias=False))
    inputs = torch.rand(5, 3)
    backbone = Module(net)

    torch.testing.assert_close(outputs_of(backbone, start(backbone), inputs), net(inputs))


def shared_head():
    first = nn.Linear(3, 3)
    return nn.Sequential(first, nn.ReLU(), first, nn.ReLU())


def tied_head():
    net = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))
    net[2].weight = net[0].weight
    return net


def frozen_head():
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    net[1].requires_grad_(False)
    return net


@pytest.mark.parametrize(
    ("net", "head", "message"),
    [
        (lambda: nn.Sequential(nn.Dropout(0.5), nn.Linear(3, 2)), None, r"'0' drops.*\.eval\(\)"),
        (lambda: nn.Sequential(nn.GRU(3, 3, 2, dropout=0.1)), None, "'0' drops out at random"),
        (lambda: nn.Sequential(nn.Conv2d(3, 2, 1)), None, "no nn.Linear inside"),
        (lambda: nn.Linear(3, 2), None, "no nn.Linear inside"),
        (lambda: nn.Sequential(nn.LazyLinear(2)), None, "'0.weight' has no shape yet"),
        (lambda: nn.Sequential(nn.Linear(3, 2)), "1", "linear layer '1'"),
        (frozen_head, None, r"'1.bias' of the head requires no gradient"),
        (tied_head, None, r"'2.weight' of the head.*shared"),
        (
            lambda: nn.Sequential(nn.InstanceNorm1d(3, track_running_stats=True), nn.Linear(3, 2)),
            None,
            "'0' keeps running statistics",
        ),
    ],
)
def test_networks_that_are_refused(net, head, message):
    with pytest.raises(UsageError, match=message):
        Module(net(), head)


@pytest.mark.parametrize(
    ("net", "head", "shape", "message"),
    [
        (lambda: nn.Sequential(nn.Linear(3, 2), nn.LogSoftmax(-1)), None, (5, 3), "'0' returns"),
        (lambda: nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2)), "0", (5, 3), "'0' returns"),
        (shared_head, None, (5, 3), "'0' returns"),
        (
            lambda: nn.Sequential(nn.Linear(3, 2)),
            None,
            (5, 4, 3),
            r"\(5, 4, 3\) reach the head '0'",
        ),
    ],
)
def test_passes_that_are_refused(net, head, shape, message):
    backbone = Module(net(), head)
    with pytest.raises(UsageError, match=message):
        backbone.features(start(backbone), torch.rand(shape))


def test_dropout_in_evaluation_mode_does_nothing():
    net = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 2)).eval()
    inputs = torch.rand(5, 3)
    backbone = Module(net)

    torch.testing.assert_close(outputs_of(backbone, start(backbone), inputs), net(inputs))


def test_a_failing_forward_leaves_the_backbone_whole():
    backbone = Module(Net(), head="classifier")
    with pytest.raises(RuntimeError):
        backbone.features(start(backbone), torch.rand(5, 3, 6, 6))

    assert backbone.features(start(backbone), torch.rand(5, 2, 6, 6)).shape == (5, 4)
