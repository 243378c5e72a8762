"""Streams of episodes of variable way and shot: what a padded batch holds, and that it is the same
however it is read."""

import pickle
from pathlib import Path

import numpy as np
import pytest

import episodes
from episodes.errors import UsageError
from episodes.padding import padded_shapes
from episodes.sampling import VariableSpec
from episodes.store import Store
from episodes.variable_stream import VariableStream


def own_store(home: Path, name: str, channels: int, sizes: dict[int, int]) -> Store:
    """`sizes` classes of so many random images of 6 x 6, all of them in every part."""
    random = np.random.default_rng(channels)
    counts = [images for images, classes in sizes.items() for _ in range(classes)]
    labels = np.repeat([f"c{number:02d}" for number in range(len(counts))], counts)
    images = random.integers(1, 256, (len(labels), 6, 6, channels), np.uint8)
    return episodes.from_arrays(images, labels, name=name, home=home)


@pytest.fixture(scope="module")
def grey(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return own_store(tmp_path_factory.mktemp("home"), "grey", 1, {4: 20, 30: 40, 90: 20})


@pytest.fixture(scope="module")
def colour(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return own_store(tmp_path_factory.mktemp("home"), "colour", 3, {25: 60})


@pytest.fixture
def stream(grey: Store) -> VariableStream:
    return VariableStream([grey], "train", seed=4)


def test_a_padded_batch_holds_the_images_of_its_plans(stream: VariableStream, grey: Store) -> None:
    batch = stream.batch(10, 6)
    assert len(set(batch.ways)) > 1
    for position in range(6):
        plan, episode = stream.plan(10 + position), batch[position]
        way = len(plan.class_ids)
        assert batch.ways[position] == way
        assert batch.class_ids[position].tolist() == [
            *plan.class_ids,
            *[-1] * (batch.class_ids.shape[1] - way),
        ]
        for rows, of_rows, images, labels, mask, alone in (
            (
                *(plan.support_rows, plan.support_labels, batch.support_images[position]),
                *(batch.support_labels[position], batch.support_mask[position]),
                episode.support_images,
            ),
            (
                *(plan.query_rows, plan.query_labels, batch.query_images[position]),
                *(batch.query_labels[position], batch.query_mask[position]),
                episode.query_images,
            ),
        ):
            np.testing.assert_array_equal(images[: len(rows)], grey.images(rows))
            np.testing.assert_array_equal(alone, grey.images(rows))
            assert not images[len(rows) :].any()
            assert labels.tolist() == [*of_rows, *[-1] * (len(labels) - len(rows))]
            assert mask.sum() == len(rows) and mask[: len(rows)].all()


def test_batches_have_few_shapes(stream: VariableStream) -> None:
    batches = list(stream.batches(3, stop=240))
    shapes = {(batch.support_images.shape[1:], batch.class_ids.shape[1]) for batch in batches}
    allowed = {((shape.support, 6, 6, 1), shape.ways) for shape in padded_shapes(stream.spec)}
    assert len(shapes) > 1 and shapes <= allowed and len(allowed) == 5


def test_the_episodes_are_the_same_however_they_are_read(stream: VariableStream) -> None:
    expected = [stream[index] for index in range(24)]
    shares = [stream.shard(rank, 3) for rank in range(3)]
    dealt = [shares[index % 3][index // 3] for index in range(24)]
    again = pickle.loads(pickle.dumps(stream))
    for read in (list(stream.iterate(0, 24, threads=3)), dealt, [again[i] for i in range(24)]):
        for one, other in zip(expected, read, strict=True):
            np.testing.assert_array_equal(one.support_images, other.support_images)
            np.testing.assert_array_equal(one.query_images, other.query_images)
            assert one.query_labels.tolist() == other.query_labels.tolist()
    assert stream.fingerprint(24) == again.fingerprint(24)
    assert stream.fingerprint(24) != VariableStream(stream.stores, "train", seed=5).fingerprint(24)


def test_grey_images_among_coloured_ones_have_equal_channels(grey: Store, colour: Store) -> None:
    both = VariableStream([grey, colour], "train", seed=1)
    assert both.image_shape == (6, 6, 3)
    found = [both[index] for index in range(12)]
    assert {episode.source for episode in found} == {0, 1}
    for episode in found:
        store = both.stores[episode.source]
        images = store.images(both.plan(episode.index).query_rows)
        np.testing.assert_array_equal(
            episode.query_images, np.broadcast_to(images, (*images.shape[:3], 3))
        )
    alone = VariableStream([grey], "train", channels=3)
    assert alone.shard(1, 2).image_shape == (6, 6, 3)


def test_an_episode_of_fixed_shape_has_no_padding(grey: Store) -> None:
    spec = VariableSpec(way=5, shot=1, query=2)
    batch = VariableStream([grey], "train", spec).batch(0, 7)
    assert batch.support_images.shape == (7, 5, 6, 6, 1) and batch.support_mask.all()
    assert batch.query_images.shape == (7, 10, 6, 6, 1) and batch.query_mask.all()


def test_images_of_two_sizes_are_refused(grey: Store, tiny_store: Store) -> None:
    with pytest.raises(UsageError, match=r"differ in size \(.*6x6.*\); prepare them at one --size"):
        VariableStream([grey, tiny_store], "train")
