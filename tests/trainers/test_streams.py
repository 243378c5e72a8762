"""Training episodes whose shot is drawn."""

from collections import Counter
from pathlib import Path

import numpy as np
import torch

from episodes.adapters.torch import on_device
from trainers import learner
from trainers.config import complete
from trainers.sources import open_source
from trainers.streams import RandomShots, Streams, open_streams, with_images_on


def streams_of(dataset: Path, **given: object) -> Streams:
    source = open_source(str(dataset))
    settings = {"dataset": str(dataset), "query": 2, "seed": 3, **given}
    return open_streams(source, complete(settings, {"split": "quarters", "threads": 1}))


def test_each_meta_batch_has_a_shot_of_its_own(grey: Path) -> None:
    shots = streams_of(grey, train_shot=4, random_shots=True).training
    assert isinstance(shots, RandomShots)
    found = [batch.support_images.shape[1] // 5 for batch in shots.batches(2, 0, 800)]
    assert found == [shots.shot(start) for start in range(0, 800, 2)]
    counts = Counter(found)
    chi_square = sum((counts[shot] - 100) ** 2 / 100 for shot in (1, 2, 3, 4))
    assert counts.keys() == {1, 2, 3, 4} and chi_square < 16.3  # p = .001, 3 degrees of freedom


def test_its_episodes_are_those_of_that_shot_wherever_it_begins(grey: Path) -> None:
    shots = streams_of(grey, train_shot=3, random_shots=True).training
    whole = list(shots.batches(2, 0, 11))
    assert [len(batch.index) for batch in whole] == [2, 2, 2, 2, 2, 1]
    for position, batch in enumerate(shots.batches(2, 4, 11), start=2):
        start = 2 * position
        of_shot = streams_of(grey, train_shot=shots.shot(start)).training
        [alone] = of_shot.batches(2, start, min(start + 2, 11))
        for other in (whole[position], alone):
            np.testing.assert_array_equal(batch.support_images, other.support_images)
            np.testing.assert_array_equal(batch.query_images, other.query_images)


def test_the_tests_keep_their_shot(grey: Path) -> None:
    fixed, drawn = streams_of(grey), streams_of(grey, train_shot=3, random_shots=True)
    assert fixed.test.fingerprint(5) == drawn.test.fingerprint(5)
    assert fixed.training.fingerprint(5) != drawn.training.fingerprint(5)


def test_tasks_are_the_same_where_the_images_lie_on_the_device(colour: Path) -> None:
    stream, source = streams_of(colour).training, open_source(str(colour))
    given = {"dataset": str(colour), "algo": "mt-net", "lr": "fixed", "query": 2}
    built = learner.build(complete(given, {"split": "quarters", "threads": 1}), source)
    on_host, resident = (
        [built.tasks(batch, seed=3) for batch in each.batches(4, 8, 18)]
        for each in (stream, on_device(stream, "cpu"))
    )
    assert [len(tasks.query_targets) for tasks in on_host] == [4, 4, 2]
    for one, other in zip(on_host, resident, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
        assert other.support_inputs.is_contiguous() and one.noise.keys() == other.noise.keys()


def test_elsewhere_than_on_cuda_a_stream_is_fed_as_it_is(grey: Path) -> None:
    stream = streams_of(grey).training
    assert with_images_on("cpu", stream) is stream
