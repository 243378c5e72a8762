import hashlib
import itertools
import pickle
from pathlib import Path

import numpy as np
import pytest

import episodes
from episodes.errors import UsageError
from episodes.store import Store
from episodes.stream import Stream
from tests.episodes.conftest import Tiny


@pytest.fixture
def stream(tiny_store: Store) -> Stream:
    return tiny_store.stream("train", way=3, shot=2, query=4, seed=5)


def test_an_episode_holds_the_images_of_its_plan(stream: Stream, tiny_store: Store) -> None:
    episode, plan = stream[17], stream.plan(17)
    np.testing.assert_array_equal(episode.support_images, tiny_store.images(plan.support_rows))
    np.testing.assert_array_equal(episode.query_images, tiny_store.images(plan.query_rows))
    assert episode.support_labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert episode.query_labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert (episode.index, episode.source) == (17, 0)
    labels_of_rows = plan.support_rows // 20
    assert labels_of_rows.tolist() == np.repeat(plan.class_ids, 2).tolist()
    assert set(plan.class_ids) <= set(tiny_store.split_classes("train"))


def test_plans_agree_in_every_order(stream: Stream) -> None:
    forward = [stream.plan(index) for index in range(40)]
    order = np.random.default_rng(0).permutation(40)
    for index in (*range(39, -1, -1), *order):
        plan = stream.plan(int(index))
        assert plan.support_rows.tolist() == forward[index].support_rows.tolist()
        assert plan.query_rows.tolist() == forward[index].query_rows.tolist()


@pytest.mark.parametrize("threads", [1, 2, 7])
@pytest.mark.parametrize("start", [0, 13])
def test_prefetching_changes_nothing(stream: Stream, threads: int, start: int) -> None:
    read = list(stream.iterate(start, 60, threads))
    assert [episode.index for episode in read] == list(range(start, 60))
    for episode in read:
        alone = stream[episode.index]
        np.testing.assert_array_equal(episode.support_images, alone.support_images)
        np.testing.assert_array_equal(episode.query_images, alone.query_images)
        assert episode.class_ids.tolist() == alone.class_ids.tolist()


def test_batches_stop_where_asked(stream: Stream) -> None:
    batches = list(stream.batches(4, start=2, stop=11, threads=2))
    assert [batch.index.tolist() for batch in batches] == [
        [2, 3, 4, 5],
        [6, 7, 8, 9],
        [10],
    ]
    assert batches[0].support_images.shape == (4, 6, 28, 28, 1)
    assert batches[0].support_labels.shape == (4, 6)
    assert list(stream.batches(4, start=5, stop=5)) == []


def test_iteration_goes_on_for_ever_and_can_be_left(stream: Stream) -> None:
    first = [episode.index for episode in itertools.islice(stream, 50)]
    assert first == list(range(50))


def test_far_episodes_are_as_near(stream: Stream) -> None:
    assert stream[10**12].index == 10**12
    last = 2**63 - 3
    assert stream.batch(last, 2).index.tolist() == [last, last + 1]
    rows = stream.plan(2**60).support_rows
    np.testing.assert_array_equal(stream.plan(np.int64(2**60)).support_rows, rows)


def test_seed_split_and_spec_change_the_episodes(tiny_store: Store) -> None:
    streams = [
        tiny_store.stream("train", 3, 1, 4, seed=1),
        tiny_store.stream("train", 3, 1, 4, seed=2),
        tiny_store.stream("quarters.train", 3, 1, 4, seed=1),
        tiny_store.stream("train", 3, 1, 5, seed=1),
        tiny_store.stream("train", 3, 1, 4, seed=1, class_pool=tiny_store.class_names[:7]),
    ]
    plans = {tuple(stream.plan(0).support_rows) for stream in streams}
    prints = {stream.fingerprint(10) for stream in streams}
    assert len(plans) == len(prints) == len(streams)


def test_the_fingerprint_is_what_it_says(tiny_store: Store) -> None:
    stream = tiny_store.stream("test", way=2, shot=1, query=1, seed=3)
    header = ["plan/1", tiny_store.digest, "halves.test", '{"query":1,"shot":1,"way":2}', "3", "2"]
    lines = []
    for index in range(2):
        plan = stream.plan(index)
        names = [tiny_store.class_names[class_id] for class_id in plan.class_ids]
        ids = tiny_store.ids(plan.support_rows) + tiny_store.ids(plan.query_rows)
        lines.append("\t".join(["0", *names, *ids]))
    expected = hashlib.sha256("\n".join(header + lines).encode()).hexdigest()
    assert stream.fingerprint(2) == expected


def test_a_pool_keeps_to_its_classes(tiny_store: Store) -> None:
    pool = [tiny_store.class_names[index] for index in (6, 1, 3)]
    stream = tiny_store.stream("train", way=3, shot=1, query=1, class_pool=pool)
    assert all(set(stream.plan(index).class_ids) == {1, 3, 6} for index in range(20))
    reordered = tiny_store.stream("train", way=3, shot=1, query=1, class_pool=pool[::-1])
    assert reordered.fingerprint(5) == stream.fingerprint(5)
    with pytest.raises(UsageError, match="class_pool names 'nobody', which is not in"):
        tiny_store.stream("train", way=2, class_pool=["nobody"])


def test_several_stores_make_one_stream(tiny: Tiny, tiny_store: Store, tmp_path: Path) -> None:
    turned = tiny.prepare(tmp_path, rotations=True)
    both = episodes.stream([tiny_store, turned], split="train", way=3, shot=1, query=2, seed=1)
    batch = both.batch(0, 40)
    assert set(batch.source) == {0, 1}
    for position in range(40):
        plan = both.plan(position)
        store = (tiny_store, turned)[plan.source]
        np.testing.assert_array_equal(
            batch.support_images[position], store.images(plan.support_rows)
        )
    larger = tiny.prepare(tmp_path, size=56)
    with pytest.raises(UsageError, match="image shapes differ"):
        episodes.stream([tiny_store, larger])
    with pytest.raises(UsageError, match="at least one store"):
        episodes.stream([])


def test_a_pickled_stream_gives_the_same_episodes(stream: Stream) -> None:
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(stream))[3].query_images, stream[3].query_images
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"way": 9}, "tiny halves.train has 8 classes; too few for way 9"),
        ({"shot": 6, "query": 15}, "has 20 images; too few for shot 6 [+] query 15"),
        ({"split": "tranin"}, "unknown split of tiny 'tranin': did you mean 'train'"),
        ({"seed": 1.5}, "seed is 1.5; expected a whole number"),
    ],
)
def test_what_cannot_be_streamed_is_told(tiny_store: Store, options: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        tiny_store.stream(**options)


def test_indices_have_bounds(stream: Stream) -> None:
    for index in (-1, 2**63 - 1, 10**30):
        with pytest.raises(UsageError, match="indices are 0 to 2[*][*]63 - 2"):
            stream[index]
    with pytest.raises(UsageError, match="expected 1 or more, and 0 or more"):
        next(stream.batches(0))
