"""Learned meta-parameters move: none is spare, none is cut off."""

import pytest
import torch
import torch.nn.functional as F

from tests.trainers.exactness.problems import WITHOUT_NORM
from trainers.algorithms import MAML, R2D2, Adaptation, Algorithm, TNet
from trainers.rates import Attenuated, Fixed, Hypergradient, RateScheme
from trainers.rates.alfa import Alfa
from trainers.rates.curvature import MetaCurvature
from trainers.rates.lslr import LSLR
from trainers.rates.lstm import MetaLSTM
from trainers.rates.meta_sgd import MetaSGD
from trainers.rates.pamela import Pamela
from trainers.types import Params, Task

ITERATIONS, STEPS, META_RATE = 20, 4, 0.2
LEARNED: dict[str, RateScheme] = {
    "hypergradient": Hypergradient(0.1),
    "meta-sgd": MetaSGD(0.1),
    "lslr": LSLR(0.1),
    "curvature": MetaCurvature(0.1),
    "lstm": MetaLSTM(hidden=3),
    "pamela": Pamela(0.1, interval=1),
    "pamela, block_end": Pamela(0.1, index="block_end"),
    "pamela, shared": Pamela(0.1, preconditioning="shared"),
    "alfa": Alfa(0.1),
    "alfa, random": Alfa(0.1, random_init=True, generator_layers=2),
    "l2f": Attenuated(LSLR(0.1)),
    "alfa, per_step": Alfa(0.1, alpha="per_step", beta="per_layer"),
    "alfa, fixed": Alfa(0.1, alpha="fixed", beta="fixed"),
}
# Of generating networks: raised, for ReLU stops what small inputs make of half the units.
HIDDEN_BIASES = ("generator/1.bias", "generator/2.bias", "attenuation/1.bias")
AWAY = {MetaLSTM: 0.5}
"""How far from their start meta-parameters begin: gates that are nearly shut learn slowly."""


def tasks(iteration: int, classify: bool) -> Task:
    """Four tasks of two values to predict, or of telling which of them is the larger."""
    generator = torch.Generator().manual_seed(iteration)
    planes = torch.randn(4, 3, 2, generator=generator, dtype=torch.float64)

    def draw(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        inputs = torch.randn(4, count, 3, generator=generator, dtype=torch.float64)
        values = (inputs @ planes).tanh()
        return inputs, values.argmax(-1) if classify else values

    return Task(*draw(8), *draw(8))


def leaves(tensors: Params) -> Params:
    return {name: tensor.double().requires_grad_() for name, tensor in tensors.items()}


def movements(scheme: RateScheme, algorithm: Algorithm, classify: bool = False) -> Params:
    """How far from its start each entry of the scheme's and the algorithm's tensors came."""
    generator = torch.Generator().manual_seed(7)
    infos = WITHOUT_NORM.param_infos(algorithm.adapts)
    adapted = [info for info in infos if info.adapted]
    params, own = WITHOUT_NORM.init(generator), algorithm.init(infos, generator)
    meta = scheme.init(adapted, STEPS, generator)
    for name, tensor in meta.items():
        if name in HIDDEN_BIASES:
            tensor.fill_(1.0)
        tensor += AWAY.get(type(scheme), 0.0) * torch.randn(tensor.shape, generator=generator)
    params, meta = leaves(params | own), leaves(meta)
    steps, loss = STEPS if adapted else 0, F.cross_entropy if classify else F.mse_loss
    how = Adaptation(WITHOUT_NORM, scheme, loss, 2, steps, training=True, batched=True)
    learned = {name: params[name] for name in own} | meta
    before = {name: tensor.detach().clone() for name, tensor in learned.items()}
    furthest = {name: torch.zeros_like(tensor) for name, tensor in before.items()}

    groups = [{"params": list(params.values())}, {"params": list(meta.values()), "lr": META_RATE}]
    optimizer = torch.optim.SGD(groups, lr=0.05)
    for iteration in range(ITERATIONS):
        draws = [algorithm.noise(infos, generator) for _ in range(4)]
        drawn = {name: torch.stack([draw[name] for draw in draws]).double() for name in draws[0]}
        batch = tasks(iteration, classify)._replace(noise=drawn)
        optimizer.zero_grad()
        algorithm.run_batch(how, params, meta, batch).outer_loss.mean().backward()
        optimizer.step()
        for name, tensor in learned.items():
            distance = (tensor.detach() - before[name]).abs()
            furthest[name] = torch.maximum(furthest[name], distance)
    return furthest


def still(moved: Params) -> Params:
    """Where entries moved by 1e-6 or less, of the tensors in which some did."""
    found = {name: ~(distance > 1e-6) for name, distance in moved.items()}
    return {name: where for name, where in found.items() if where.any()}


@pytest.mark.parametrize("scheme", LEARNED)
def test_every_entry_moves(scheme):
    moved = movements(LEARNED[scheme], MAML())

    assert moved
    assert still(moved) == {}


@pytest.mark.parametrize("algorithm", [TNet(), TNet(masked=True), R2D2()], ids=str)
def test_every_entry_of_an_algorithm_moves(algorithm):
    moved = movements(Fixed(0.1), algorithm)

    assert moved
    assert still(moved) == {}


def test_cross_entropy_moves_no_common_part_of_the_logits():
    """R2-D2's offset adds to all logits alike, which softmax does not see."""
    assert still(movements(Fixed(0.1), R2D2(), classify=True)).keys() == {"ridge/offset"}


@pytest.mark.parametrize(
    "scheme, weight", [("alfa", "generator/1.weight"), ("l2f", "attenuation/1.weight")]
)
def test_cross_entropy_gives_a_linear_head_no_mean_gradient(scheme, weight):
    """The gradients of the logits sum to zero, and so do those of the head's weight and bias over
    the classes: what a generator makes of their means is spare."""
    unmoved = still(movements(LEARNED[scheme], MAML(), classify=True))

    assert unmoved.keys() == {weight}
    assert unmoved[weight].all(0).tolist()[-2:] == [True, True]
    assert not unmoved[weight][:, :-2].any()
