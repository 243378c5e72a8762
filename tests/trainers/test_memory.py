"""The memory estimate against what autograd is seen to save, and its refusals."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from click.testing import Result

from trainers.algorithms import MAML, Adaptation, ProtoNet
from trainers.algorithms.base import initial
from trainers.backbones import Conv4
from trainers.memory import Size, task_bytes
from trainers.rates import Fixed
from trainers.rates.alfa import Alfa
from trainers.rates.lstm import MetaLSTM

INPUTS = (1, 16, 16)


def saved_bytes(algorithm, how: Adaptation, params, meta, support: int, query: int) -> int:
    """What autograd packs during one adaptation, each storage once."""
    storages: dict[int, torch.UntypedStorage] = {}
    leaves = {t.untyped_storage().data_ptr() for t in (*params.values(), *meta.values())}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage
        return tensor

    from trainers.types import Task

    def images(count: int):
        return torch.rand(count, *INPUTS), torch.arange(count) % 2

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = algorithm.run(how, params, meta, Task(*images(support), *images(query)))
    assert result.outer_loss.requires_grad
    return sum(storage.nbytes() for pointer, storage in storages.items() if pointer not in leaves)


@pytest.mark.parametrize(
    ("algorithm", "scheme", "steps"),
    [(MAML(), Fixed(0.1), 4), (MAML(), Alfa(), 3), (ProtoNet(), Fixed(0.1), 0)],
    ids=["fixed", "alfa", "protonet"],
)
def test_the_estimate_is_what_is_saved(algorithm, scheme, steps: int) -> None:
    backbone = Conv4(2, *INPUTS[:2], filters=4)
    head = "learned" if steps == 0 else "prototypes"
    how = Adaptation(backbone, scheme, F.cross_entropy, 2, steps, head_init=head, training=True)
    params, meta = initial(algorithm, how, torch.Generator().manual_seed(0), "cpu")
    estimate = task_bytes(algorithm, how, params, meta, INPUTS, Size(steps, 30, 14))
    assert estimate == pytest.approx(saved_bytes(algorithm, how, params, meta, 30, 14), rel=0.02)
    if steps > 1:
        first_order = replace(how, second_order=False)
        less = task_bytes(algorithm, first_order, params, meta, INPUTS, Size(steps, 30, 14))
        assert less < 0.6 * estimate


@pytest.mark.parametrize(
    ("scheme", "numbers"),
    [(Fixed(0.1), 1), (MetaLSTM(hidden=3), 1 + 2 * 3 + 2)],
    ids=["fixed", "lstm"],
)
def test_a_recomputed_step_keeps_weights_and_state_alone(scheme, numbers: int) -> None:
    """The cell, and h and c of 3 units, f and i of each weight."""
    how = Adaptation(Conv4(2, *INPUTS[:2], filters=4), scheme, F.cross_entropy, 2, 4, training=True)
    params, meta = initial(MAML(), how, torch.Generator().manual_seed(0), "cpu")
    how = replace(how, recomputed=True)
    one, four = (
        task_bytes(MAML(), how, params, meta, INPUTS, Size(steps, 30, 14)) for steps in (1, 4)
    )
    weights = sum(tensor.nbytes for tensor in params.values())
    assert (four - one) / 3 == numbers * weights


def test_what_cannot_fit_is_refused(train: Callable[..., Result]) -> None:
    shape = ("--way", 12, "--shot", 10, "--steps", 10_000, "--filters", 512)
    result = train("--algo", "maml", "--lr", "fixed", *shape)
    assert result.exit_code == 2, result.output
    assert "a training step can need" in result.stderr and "add --first-order" in result.stderr
