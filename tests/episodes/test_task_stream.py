"""A stream as the space of tasks that samplers choose among: identities, their plans and images."""

from pathlib import Path

import numpy as np
import pytest

from episodes.errors import UsageError
from episodes.sampling import SAMPLERS, EpisodeSpec, PlanBatch, build
from episodes.store import Store
from episodes.stream import Stream, stream
from tests.episodes.made_stores import make_store

ARRAYS = ("source", "class_ids", "support_rows", "query_rows")


@pytest.fixture
def tasks(tiny_store: Store) -> Stream:
    return tiny_store.stream("train", way=3, shot=2, query=(1, 4, 2), seed=5)


@pytest.fixture
def of_two(tmp_path: Path) -> Stream:
    generator = np.random.default_rng(0)
    stores = []
    for name, classes in (("first", 4), ("second", 9)):
        images = {
            f"{name}{label}": {
                f"{row}.png": generator.integers(0, 256, (6, 6, 1), np.uint8) for row in range(5)
            }
            for label in range(classes)
        }
        stores.append(make_store(tmp_path / name, images))
    return stream(stores, way=3, shot=1, query=2)


def assert_same(found: PlanBatch, expected: PlanBatch) -> None:
    assert (found.start, found.step) == (expected.start, expected.step)
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


@pytest.mark.parametrize(("start", "count"), [(0, 1), (7, 40), (2**60, 5000), (3, 0)])
def test_plans_of_uniform_identities_are_the_uniform_plans(
    tasks: Stream, of_two: Stream, start: int, count: int
) -> None:
    for space in (tasks, of_two):
        identities = space.identities(start, count)
        assert (identities.shape, identities.dtype) == ((count, 4), np.int64)
        assert_same(space.plans_of(identities, start), space.plans(start, count))


def test_an_identity_is_a_source_and_places_in_its_class_table(of_two: Stream) -> None:
    identities, plans = of_two.identities(0, 200), of_two.plans(0, 200)
    np.testing.assert_array_equal(identities[:, 0], plans.source)
    assert set(plans.source.tolist()) == {0, 1}
    for row, class_ids in zip(identities, plans.class_ids, strict=True):
        assert of_two.class_tables[row[0]].class_ids[row[1:]].tolist() == class_ids.tolist()
    assert (of_two.sources, of_two.classes) == (2, 13)


def test_the_classes_are_those_asked_for_and_the_images_those_of_the_number(
    tasks: Stream, tiny_store: Store
) -> None:
    identities = np.repeat([[0, 5, 2, 7]], 3, axis=0)
    batch = tasks.batch_of(identities, 11)
    class_ids = tasks.class_tables[0].class_ids[[5, 2, 7]]
    np.testing.assert_array_equal(batch.class_ids, [class_ids] * 3)
    assert batch.index.tolist() == [11, 12, 13]
    plans = tasks.plans_of(identities, 11)
    owners = plans.support_rows // 20
    np.testing.assert_array_equal(owners, [np.repeat(class_ids, 2)] * 3)
    np.testing.assert_array_equal(batch.support_images[1], tiny_store.images(plans.support_rows[1]))
    np.testing.assert_array_equal(batch.query_images[2], tiny_store.images(plans.query_rows[2]))
    assert len({tuple(rows) for rows in plans.support_rows.tolist()}) == 3
    # The places of the images in their classes are those of the uniform episode of the number.
    uniform = tasks.plans(11, 3)
    np.testing.assert_array_equal(plans.query_rows % 20, uniform.query_rows % 20)


def test_a_batch_of_uniform_identities_is_the_batch(tasks: Stream) -> None:
    expected = tasks.batch(6, 4)
    out = np.empty((4, 13, *tasks.image_shape), np.uint8)
    found = tasks.batch_of(tasks.identities(6, 4), 6, out)
    assert np.shares_memory(found.support_images, out)
    for name in ("support_images", "query_images", "class_ids", "index", "source"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_relabelled_tasks_have_the_same_classes_in_every_order(tasks: Stream) -> None:
    identities = tasks.identities(0, 60)
    words = np.random.default_rng(0).integers(0, 2**64, (60, 3), np.uint64)
    found = tasks.relabelled(identities, words)
    assert (found.shape, found.dtype) == ((60, 4), np.int64)
    np.testing.assert_array_equal(np.sort(found[:, 1:]), np.sort(identities[:, 1:]))
    pairs = zip(identities[:, 1:].tolist(), found[:, 1:].tolist(), strict=True)
    moved = {tuple(before.index(label) for label in after) for before, after in pairs}
    assert len(moved) == 6
    assert_same(tasks.plans_of(found, 0), tasks.plans_of(found.astype(np.int32), 0))


@pytest.mark.parametrize(
    ("identities", "message"),
    [
        ([[0, 1, 2]], r"identities are int64 \[1, 3\]; expected whole numbers \[n, 4\]"),
        ([0, 1, 2, 3], r"identities are int64 \[4\]"),
        ([[0.0, 1, 2, 3]], r"identities are float64 \[1, 4\]"),
        ([[0, 1, 2, 3], [1, 1, 2, 3]], r"identity \[1, 1, 2, 3\]; expected a source below 1"),
        ([[-1, 1, 2, 3]], r"identity \[-1, 1, 2, 3\]"),
        ([[0, 1, 2, 8]], r"identity \[0, 1, 2, 8\]; .* 3 distinct classes of it, of \[8\]"),
        ([[0, -1, 2, 3]], r"identity \[0, -1, 2, 3\]"),
        ([[0, 1, 2, 1]], r"identity \[0, 1, 2, 1\]"),
    ],
)
def test_what_is_no_identity_is_refused(tasks: Stream, identities: list, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        tasks.plans_of(np.array(identities), 0)


def test_each_source_has_its_own_number_of_classes(of_two: Stream) -> None:
    assert len(of_two.plans_of(np.array([[1, 8, 0, 4]]), 0).source) == 1
    with pytest.raises(UsageError, match=r"identity \[0, 8, 0, 4\]; .* of \[4, 9\]"):
        of_two.plans_of(np.array([[0, 8, 0, 4]]), 0)


def test_numbers_out_of_range_and_shares_are_refused(tasks: Stream) -> None:
    with pytest.raises(UsageError, match="indices are 0 to"):
        tasks.identities(-1, 2)
    with pytest.raises(UsageError, match="indices are 0 to"):
        tasks.plans_of(tasks.identities(0, 2), 2**63 - 2)
    share = tasks.shard(0, 2)
    for call in (lambda: share.identities(0, 1), lambda: share.plans_of(np.zeros((1, 4), int), 0)):
        with pytest.raises(UsageError, match="has no tasks to choose among: take the whole stream"):
            call()


def test_the_name_of_the_space_is_that_of_split_and_spec(tasks: Stream) -> None:
    spec = EpisodeSpec(3, 2, (1, 4, 2))
    assert tasks.canonical() == f"halves.train\n{spec.canonical()}"


@pytest.mark.parametrize("name", [*SAMPLERS])
def test_every_sampler_trains_on_a_stream(tasks: Stream, name: str) -> None:
    size = 1 if name == "fixed-pool" else 4
    features = {"features": np.random.default_rng(0).normal(size=(8, 5))} if name == "s-dpp" else {}
    sampler = build(name, tasks, size, 1, **features)
    seen = []
    for batch in (*range(3), *range(31, 34)):
        proposal = sampler.propose(batch)
        images = tasks.batch_of(proposal.identities, proposal.start)
        flat = images.support_images.reshape(*images.support_images.shape[:2], -1) / 255
        measured = {
            "features": flat,
            "labels": images.support_labels,
            "gradient_norms": flat.sum(axis=(1, 2)),
        }
        selection = sampler.select({key: measured[key] for key in sampler.measures})
        assert selection.chosen.tolist() == list(range(size))
        results = np.linspace(0, 1, size)
        sampler.feedback({"losses": results, "accuracies": results, "weight_gradients": results})
        seen.append(images.support_images.copy())
    # Whatever the classes, no two batches have the same images.
    assert len({batch.tobytes() for batch in seen}) == len(seen)
