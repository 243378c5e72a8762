from math import sqrt

import numpy as np
import pytest
import torch

from episodes.errors import UsageError
from episodes.stream import EpisodeBatch
from trainers import algorithms
from trainers.evaluation import accuracy, confidence_interval, evaluate
from trainers.rates import Fixed, Personalized
from trainers.types import Task, tasks_from_batch

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
    def run(scheme=None, episodes=EPISODES, episodes_at_a_time=4, on_batch=None, steps=3):
        return evaluate(
            algorithm=algorithms.build("anil"),
            backbone=backbone,
            scheme=scheme or Fixed(0.1),
            meta={},
            params=initial(backbone),
            stream=RandomStream(),
            episodes=episodes,
            steps=steps,
            bn="batch",
            device="cpu",
            episodes_at_a_time=episodes_at_a_time,
            on_batch=on_batch,
        )

    return run


def test_interval_by_hand():
    # Deviations .3, .1, .1, .3 from the mean .5: variance .05.
    accuracies = np.array([0.2, 0.4, 0.6, 0.8])

    assert confidence_interval(accuracies) == pytest.approx(1.96 * sqrt(0.05) / 2)


def test_interval_of_one_episode_is_zero():
    assert confidence_interval(np.array([0.7])) == 0


def test_evaluation_equals_episodes_run_one_by_one(measure, backbone, initial):
    params = initial(backbone)
    algorithm = algorithms.build("anil")

    found = measure()

    for i, batch in enumerate(RandomStream().batches(1, stop=EPISODES)):
        (task,) = tasks_from_batch(batch, "cpu", torch.float64)
        result = algorithm.run(backbone, Fixed(0.1), {}, params, task, 3, "batch", training=False)
        right = (result.query_logits.argmax(-1) == task.query_labels).tolist()
        assert found.accuracies[i] == pytest.approx(sum(right) / len(right))
        assert found.losses[i] == result.query_loss.item()
        assert found.rates[i].tolist() == [0.1] * 3
    assert found.accuracies.shape == (EPISODES,) and found.accuracies.dtype == np.float64
    assert found.mean == pytest.approx(np.mean(found.accuracies))
    assert found.interval == confidence_interval(found.accuracies)


def test_evaluation_is_the_same_for_any_batch_size(measure):
    whole, single = measure(episodes_at_a_time=EPISODES), measure(episodes_at_a_time=1)

    np.testing.assert_array_equal(whole.accuracies, single.accuracies)
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


@pytest.mark.parametrize("field", ["episodes", "episodes_at_a_time"])
def test_counts_below_one_are_refused(measure, field):
    with pytest.raises(UsageError, match=f"{field} is 0"):
        measure(**{field: 0})


def test_accuracy_by_hand(backbone, initial, random_task):
    task = random_task(backbone, query=2)
    result = algorithms.build("anil").run(
        backbone, Fixed(), {}, initial(backbone), task, 0, "batch", training=False
    )
    chosen = result.query_logits.argmax(-1)
    three_of_four = torch.cat([chosen[:3], 1 - chosen[3:]])

    labelled = Task(task.support_images, task.support_labels, task.query_images, three_of_four)

    assert accuracy(result, labelled) == 0.75


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

    first, second = tasks_from_batch(batch, "cpu")

    assert second.support_images.shape == (3, 3, 4, 5)
    assert second.support_images.dtype == torch.float32
    assert second.support_images.is_contiguous()
    assert second.support_images[1, 2, 3, 4].item() == np.float32(pixels[1, 1, 3, 4, 2] / 255)
    assert first.query_images.shape == (1, 3, 4, 5)
    assert second.support_labels.tolist() == [2, 1, 0]
    assert second.query_labels.tolist() == [2]
