"""The relation matrix and the consistency loss: golden values, computed apart."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from trainers.regularizers import consistency, mixed, peer_weights, relation_matrix

REPRESENTATIONS = torch.tensor([(1, 2, 0, -1), (2, 1, 1, 0), (-1, 0.5, 3, 2)], dtype=torch.float64)
HEADS = torch.tensor([(1, 1, 1, 1), (1, 0, 2, 0.5)], dtype=torch.float64)
OUTPUTS = torch.tensor(
    [
        [(0.5, 1), (2, -1), (0, 3)],
        [(1.5, 0), (1, 1), (2, 2)],
        [(-0.5, 2), (0.5, 0), (1, -1)],
    ],
    dtype=torch.float64,
)[..., None]
TARGETS = torch.tensor([(1, 0.5), (1.5, 0), (0.5, 1)], dtype=torch.float64)[..., None]
ALL = torch.arange(3)


def relations() -> Tensor:
    return relation_matrix(REPRESENTATIONS, HEADS)


def test_relations_of_each_head_and_their_mean() -> None:
    def upper(matrix: Tensor) -> list[float]:
        return [matrix[0, 1].item(), matrix[0, 2].item(), matrix[1, 2].item()]

    heads = [relation_matrix(REPRESENTATIONS, head[None]) for head in HEADS]
    assert upper(heads[0]) == pytest.approx([0.666667, -0.216295, 0.162221], abs=1e-6)
    assert upper(heads[1]) == pytest.approx([0.632456, -0.217643, 0.573539], abs=1e-6)
    assert upper(relations()) == pytest.approx([0.649561, -0.216969, 0.367880], abs=1e-6)


def test_relations_are_symmetric_scale_free_and_blind_to_a_head_s_signs() -> None:
    found = relations()
    assert torch.allclose(found, found.T)
    assert torch.allclose(found.diagonal(), torch.ones(3, dtype=torch.float64))
    signs = torch.tensor([(1, -1, 1, -1), (-1, 1, 1, 1)])
    assert torch.allclose(relation_matrix(REPRESENTATIONS, 3 * signs * HEADS), found)
    order = torch.tensor([2, 0, 1])
    permuted = relation_matrix(REPRESENTATIONS[order], HEADS)
    assert torch.allclose(permuted, found[order][:, order])


def test_equal_heads_keep_equal_gradients() -> None:
    heads = torch.ones(2, 4, dtype=torch.float64, requires_grad=True)
    relation_matrix(REPRESENTATIONS, heads)[0, 1].backward()
    assert heads.grad is not None
    assert heads.grad.abs().sum() > 0
    assert torch.equal(heads.grad[0], heads.grad[1])


@pytest.mark.parametrize(
    ("weighting", "each", "total"),
    [
        ("literal", [2.259344, 0.204691, 9.668087], 4.044041),
        ("relu", [0.25, 0.204691, 1.625], 0.693230),
    ],
)
def test_consistency_of_three_tasks(weighting: str, each: list[float], total: float) -> None:
    weights = peer_weights(relations(), weighting)
    loss, losses = consistency(OUTPUTS, TARGETS, weights, ALL, F.mse_loss)
    assert losses.tolist() == pytest.approx(each, abs=2e-6)
    assert loss.item() == pytest.approx(total, abs=1e-6)
    own = torch.stack([F.mse_loss(OUTPUTS[i, i], TARGETS[i]) for i in range(3)]).mean()
    assert own.item() == pytest.approx(1.0)
    if weighting == "relu":
        assert (own + 0.5 * loss).item() == pytest.approx(1.346615, abs=1e-6)


def test_parts_of_disjoint_rows_sum_to_the_whole() -> None:
    weights = peer_weights(relations())
    whole, _ = consistency(OUTPUTS, TARGETS, weights, ALL, F.mse_loss)
    parts = [
        consistency(OUTPUTS[:, rows], TARGETS[rows], weights, rows, F.mse_loss)[0]
        for rows in (torch.tensor([1]), torch.tensor([2, 0]))
    ]
    assert torch.allclose(parts[0] + parts[1], whole)


def test_mixing_logits_and_probabilities() -> None:
    logits = torch.tensor([(9.0, 9, 9), (0.5, 1.5, 0), (1, -1, 0.5)], dtype=torch.float64)
    weights = torch.tensor([[0, 0.8, 0.3]], dtype=torch.float64) / 1.1
    pooled = mixed(logits[:, None, None], weights)[0, 0]
    assert pooled.tolist() == pytest.approx([0.636364, 0.818182, 0.136364], abs=1e-6)
    assert -pooled.log_softmax(-1)[0].item() == pytest.approx(1.031734, abs=1e-6)
    pooled = mixed(logits[:, None, None], weights, "probabilities")[0, 0]
    assert pooled.exp().tolist() == pytest.approx([0.324735, 0.478304, 0.196962], abs=1e-6)
    assert -pooled[0].item() == pytest.approx(1.124747, abs=1e-6)


def test_a_probability_of_weight_zero_sends_no_gradient() -> None:
    weights = torch.tensor([[0.0, 1.0]], dtype=torch.float64, requires_grad=True)
    outputs = torch.randn(2, 1, 3, 4, dtype=torch.float64, requires_grad=True)
    mixed(outputs, weights, "probabilities").sum().backward()
    assert outputs.grad is not None and weights.grad is not None
    assert outputs.grad[0].abs().sum() == 0
    assert weights.grad.isfinite().all()


def test_a_task_without_positive_relations_is_left_out_of_the_mean() -> None:
    found = torch.tensor([(1, 0.5, -1), (0.5, 1, -1), (-1, -1, 1)], dtype=torch.float64)
    weights = peer_weights(found)
    assert weights[2].tolist() == [0, 0, 0]
    loss, losses = consistency(OUTPUTS, TARGETS, weights, ALL, F.mse_loss)
    assert losses[2] == 0
    assert loss.item() == pytest.approx(losses[:2].mean().item())


def test_own_model_and_models_of_weight_zero_do_not_count() -> None:
    weights = peer_weights(relations())
    before, _ = consistency(OUTPUTS, TARGETS, weights, ALL, F.mse_loss)
    changed = OUTPUTS.clone()
    changed[torch.arange(3), torch.arange(3)] += 7
    assert weights[0, 2] == 0
    changed[2, 0] -= 5
    after, _ = consistency(changed, TARGETS, weights, ALL, F.mse_loss)
    assert torch.equal(after, before)
    changed[1, 0] += 1
    moved, _ = consistency(changed, TARGETS, weights, ALL, F.mse_loss)
    assert moved != before


def test_softmax_weights_sum_to_one_without_the_task_itself() -> None:
    weights = peer_weights(relations(), "softmax", temperature=0.5)
    assert weights.diagonal().tolist() == [0, 0, 0]
    first, second = math.exp(0.649561 / 0.5), math.exp(-0.216969 / 0.5)
    assert weights[0, 1].item() == pytest.approx(first / (first + second), abs=1e-5)
