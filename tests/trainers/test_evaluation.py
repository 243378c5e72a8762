from dataclasses import dataclass, replace
from math import sqrt

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from episodes import EpisodeBatch
from trainers import report
from trainers.algorithms import ANIL, MAML, Adaptation, ProtoNet
from trainers.evaluation import Evaluation, confidence_interval, evaluate
from trainers.metrics import ACCURACY, MSE, accuracy, mse
from trainers.rates import Fixed, Personalized, RateScheme, Update
from trainers.types import each_task, tasks_from_batch

EPISODES, WAY, SHOT, QUERY, SIZE = 7, 2, 1, 3, 16


class RandomStream:
    """Seven episodes of noise, class 1 brighter than class 0."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        labels = np.repeat(np.arange(WAY), SHOT), np.repeat(np.arange(WAY), QUERY)
        self.labels = [np.tile(row, (EPISODES, 1)) for row in labels]
        self.images = [
            (
                rng.integers(0, 100, (*rows.shape, SIZE, SIZE, 1))
                + 60 * rows[..., None, None, None]
            ).astype(np.uint8)
            for rows in self.labels
        ]

    def batch(self, start: int, size: int) -> EpisodeBatch:
        rows = slice(start, start + size)
        return EpisodeBatch(
            support_images=self.images[0][rows],
            support_labels=self.labels[0][rows],
            query_images=self.images[1][rows],
            query_labels=self.labels[1][rows],
            class_ids=np.zeros((size, WAY), np.int64),
            index=np.arange(start, start + size),
            source=np.zeros(size, np.int64),
        )

    def batches(self, size, start=0, stop=None, threads=1):
        for first in range(start, stop, size):
            yield self.batch(first, min(size, stop - first))


@pytest.fixture
def measure(backbone, initial):
    def run(
        scheme=None, at_a_time=4, on_batch=None, steps=3, algorithm=None, batched=False
    ) -> Evaluation:
        how = Adaptation(
            backbone, scheme or Fixed(0.1), F.cross_entropy, WAY, steps, batched=batched
        )
        batches = RandomStream().batches(at_a_time, stop=EPISODES)
        tasks = (tasks_from_batch(batch, "cpu", torch.float64) for batch in batches)
        params = initial(backbone)
        return evaluate(algorithm or ANIL(), how, params, {}, tasks, ACCURACY, on_batch)

    return run


def test_interval_by_hand():
    # Deviations .3, .1, .1, .3 from the mean .5: variance .05.
    accuracies = np.array([0.2, 0.4, 0.6, 0.8])

    assert confidence_interval(accuracies) == pytest.approx(1.96 * sqrt(0.05) / 2)


def test_interval_of_one_episode_is_zero():
    assert confidence_interval(np.array([0.7])) == 0


def test_evaluation_equals_episodes_run_one_by_one(measure, backbone, initial):
    params = initial(backbone)
    how = Adaptation(backbone, Fixed(0.1), F.cross_entropy, WAY, 3)

    found = measure()

    for i, batch in enumerate(RandomStream().batches(1, stop=EPISODES)):
        (task,) = each_task(tasks_from_batch(batch, "cpu", torch.float64))
        result = ANIL().run(how, params, {}, task)
        right = (result.outputs.argmax(-1) == task.query_targets).tolist()
        assert found.figures[i] == pytest.approx(sum(right) / len(right))
        assert found.losses[i] == result.query_loss.item()
        assert found.rates[i].tolist() == [0.1] * 3
        assert found.support_losses[i].tolist() == result.trace.losses.tolist()
        assert found.grad_norms[i].tolist() == result.trace.grad_norms.tolist()
    assert found.figures.shape == (EPISODES,) and found.figures.dtype == np.float64
    assert found.mean == pytest.approx(np.mean(found.figures))
    assert found.interval == confidence_interval(found.figures)


@pytest.mark.parametrize("algorithm", [MAML(), ANIL(), ProtoNet()])
def test_tasks_at_once_are_measured_as_one_by_one(algorithm, measure):
    steps = 0 if algorithm == ProtoNet() else 3

    looped = measure(algorithm=algorithm, steps=steps)
    batched = measure(algorithm=algorithm, steps=steps, batched=True)

    np.testing.assert_array_equal(batched.figures, looped.figures)
    np.testing.assert_allclose(batched.losses, looped.losses, rtol=1e-10)
    np.testing.assert_array_equal(batched.rates, looped.rates)
    np.testing.assert_array_equal(batched.branches, looped.branches)


def test_without_an_inner_loop_there_is_a_rate_of_no_step(measure):
    for batched in (False, True):
        found = report.test_rates(
            measure(algorithm=ProtoNet(), steps=0, batched=batched), branches=None
        )
        assert found.pop("branches") is None
        assert found == dict.fromkeys(("mean", "std", "support_loss", "grad_norm"), [])


def test_the_norm_is_that_of_the_gradient_of_all_tensors(measure):
    evaluation = replace(measure(), grad_norms=np.array([[[3.0, 4.0]], [[0.0, 7.0]]]))
    assert report.test_rates(evaluation, None)["grad_norm"] == [6.0]


def test_evaluation_is_the_same_for_any_batch_size(measure):
    whole, single = measure(at_a_time=EPISODES), measure(at_a_time=1)

    np.testing.assert_array_equal(whole.figures, single.figures)
    np.testing.assert_array_equal(whole.losses, single.losses)


def test_progress_is_reported_by_batch(measure):
    done = []

    measure(on_batch=done.append)

    assert done == [4, 7]


def test_branches_are_kept_by_episode_and_step(measure):
    found = measure(Personalized(lr_min=0.5, lr_max=0.4), steps=8)

    assert found.rates.shape == found.branches.shape == (EPISODES, 8)
    fitted = found.branches == 1
    assert fitted.any() and not fitted.all()
    assert (found.rates[~fitted] == 0.5).all()
    assert (found.rates[fitted] < 0.4).all()
    assert found.branches.mean() == fitted.mean()


def test_a_scheme_without_branches_has_no_share(measure):
    assert np.isnan(measure().branches).all()


def test_no_steps_can_be_evaluated(measure):
    assert measure(steps=0).rates.shape == (EPISODES, 0)


def test_rates_of_each_tensor_are_kept(measure, backbone):
    found = measure(ByTensor(), algorithm=MAML())

    tensors = len(backbone.param_infos(MAML().adapts))
    assert found.rates.shape == (EPISODES, 3, tensors)
    assert (found.rates == np.arange(tensors) / 100).all()


@dataclass(frozen=True)
class ByTensor(RateScheme):
    """The rate i / 100 for tensor i."""

    def step(self, meta, at, state):
        rates = {info.name: i / 100 for i, info in enumerate(at.infos)}
        moved = {name: at.params[name] - rates[name] * at.grads[name] for name in rates}
        return Update(moved, torch.tensor(list(rates.values()), dtype=torch.float64))


def test_no_weight_changes(backbone, initial):
    params = initial(backbone)
    before = {name: param.detach().clone() for name, param in params.items()}
    tasks = tasks_from_batch(RandomStream().batch(0, 3), "cpu", torch.float64)
    how = Adaptation(backbone, Fixed(0.1), F.cross_entropy, WAY, 3)

    evaluate(MAML(), how, params, {}, [tasks], ACCURACY)

    for name, param in params.items():
        assert torch.equal(param, before[name]) and param.grad is None


def test_accuracy_by_hand():
    outputs = torch.tensor([[[2.0, 1.0, 0.0], [0.0, 0.5, 0.1]], [[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]]])
    targets = torch.tensor([[0, 2], [2, 0]])

    assert accuracy(outputs, targets).tolist() == [0.5, 1.0]
    assert accuracy(outputs[0], targets[0]) == 0.5


def test_squared_error_by_hand():
    outputs, targets = torch.tensor([[[1.0], [3.0]], [[0.0], [0.0]]]), torch.zeros(2, 2, 1)

    assert mse(outputs, targets).tolist() == [5.0, 0.0]
    assert MSE.of(outputs[0], targets[0]) == MSE.loss(outputs[0], targets[0]) == 5.0


@pytest.mark.parametrize(
    ("metric", "figures", "text"),
    [
        (ACCURACY, (0.56201, 0.00612), "56.20 ± 0.61 %"),
        (MSE, (0.12345, 0.001), "0.1235 ± 0.0010"),
        (MSE, (2.5e20, 1.25e20), "2.5000e+20 ± 1.2500e+20"),
    ],
)
def test_figures_are_printed_as_in_papers(metric, figures, text):
    assert metric.text(*figures) == text


def test_tasks_have_channels_first_and_pixels_in_zero_to_one():
    pixels = np.arange(2 * 3 * 4 * 5 * 3).reshape(2, 3, 4, 5, 3) % 256
    labels = np.array([[0, 1, 2], [2, 1, 0]])
    batch = EpisodeBatch(
        support_images=pixels.astype(np.uint8),
        support_labels=labels,
        query_images=pixels[:, :1].astype(np.uint8),
        query_labels=labels[:, :1],
        class_ids=labels,
        index=np.arange(2),
        source=np.zeros(2, np.int64),
    )

    first, second = each_task(tasks_from_batch(batch, "cpu"))

    assert second.support_inputs.shape == (3, 3, 4, 5)
    assert second.support_inputs.dtype == torch.float32
    assert second.support_inputs.is_contiguous()
    assert second.support_inputs[1, 2, 3, 4].item() == np.float32(pixels[1, 1, 3, 4, 2] / 255)
    assert first.query_inputs.shape == (1, 3, 4, 5)
    assert second.support_targets.tolist() == [2, 1, 0]
    assert second.query_targets.tolist() == [2]
