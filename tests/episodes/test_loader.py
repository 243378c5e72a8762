"""Loaders: the same episodes for any ranks, threads and starts, and a state of one number."""

import gc
import json
import os
import pickle
import signal
import threading
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from episodes.buffers import BufferPool
from episodes.episode import Episode, EpisodeBatch
from episodes.errors import UsageError
from episodes.store import Store
from episodes.stream import Stream


@pytest.fixture(scope="module")
def stream(tiny_store: Store) -> Stream:
    return tiny_store.stream("train", way=3, shot=2, query=4, seed=7)


def same(left: Episode, right: Episode) -> bool:
    names = ("support_images", "support_labels", "query_images", "query_labels", "class_ids")
    return (left.index, left.source) == (right.index, right.source) and all(
        np.array_equal(getattr(left, name), getattr(right, name)) for name in names
    )


@pytest.mark.parametrize("world", [1, 2, 3, 8])
@pytest.mark.parametrize("threads", [0, 1, 4])
@pytest.mark.parametrize("start", [0, 5])
def test_the_shares_are_disjoint_and_their_union_is_the_stream(
    stream: Stream, world: int, threads: int, start: int
) -> None:
    shares = [
        list(stream.shard(rank, world).loader(start=start, stop=40, threads=threads))
        for rank in range(world)
    ]
    episodes = sorted((episode for share in shares for episode in share), key=lambda e: e.index)
    assert [episode.index for episode in episodes] == list(range(start, 40))
    assert all(same(episode, stream[episode.index]) for episode in episodes)
    for rank, share in enumerate(shares):
        assert all((episode.index - start) % world == rank for episode in share)


def test_a_share_is_a_stream_of_its_own(stream: Stream) -> None:
    share = stream.shard(2, 5)
    assert [share.plan(j).index for j in (0, 3)] == [2, 17]
    assert same(share[3], stream[17])
    assert list(share.batch(1, 3).index) == [7, 12, 17]
    assert [episode.index for episode in share.iterate(1, 4)] == [7, 12, 17]
    assert [list(batch.index) for batch in share.batches(2, 0, 3)] == [[2, 7], [12]]
    assert "shard 2 of 5" in repr(share)
    with pytest.raises(UsageError, match="rank 5 of 5 shards; expected 0 to 4"):
        stream.shard(5, 5)
    with pytest.raises(UsageError, match="is a share already"):
        share.shard(0, 2)
    with pytest.raises(UsageError, match="take that of the whole"):
        share.fingerprint(3)


def test_torchruns_environment_says_which_share(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (stream.shard().rank, stream.shard().world) == (0, 1)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert (stream.shard().rank, stream.shard().world) == (1, 4)
    monkeypatch.setenv("RANK", "one")
    with pytest.raises(UsageError, match="RANK is 'one' in the environment"):
        stream.shard()


@settings(max_examples=30, deadline=None)
@given(
    worlds=st.lists(st.sampled_from([1, 2, 3, 8]), min_size=1, max_size=4),
    steps=st.integers(1, 3),
    batch_size=st.sampled_from([None, 1, 2, 5]),
    threads=st.sampled_from([0, 2]),
)
def test_every_episode_comes_once_whatever_the_ranks_before_and_after_a_restart(
    stream: Stream, worlds: list[int], steps: int, batch_size: int | None, threads: int
) -> None:
    seen: list[int] = []
    state = {"next": 0}
    for world in worlds:
        states = []
        for rank in range(world):
            loader = stream.shard(rank, world).loader(batch_size, threads=threads)
            loader.load_state_dict(json.loads(json.dumps(state)))
            items = iter(loader)
            for _ in range(steps):
                item = next(items)
                seen.extend(
                    [item.index] if isinstance(item, Episode) else [int(i) for i in item.index]
                )
            states.append(loader.state_dict())
            items.close()
        assert len({json.dumps(found) for found in states}) == 1
        state = states[0]
    assert sorted(seen) == list(range(len(seen)))
    assert state == {"next": len(seen)}


def test_a_counted_loader_ends_and_begins_again(stream: Stream) -> None:
    loader = stream.loader(4, start=2, stop=13)
    assert len(loader) == 3
    for _ in range(2):
        batches = list(loader)
        assert [list(batch.index) for batch in batches] == [
            [2, 3, 4, 5],
            [6, 7, 8, 9],
            [10, 11, 12],
        ]
        assert loader.state_dict() == {"next": 13}
    assert all(isinstance(batch, EpisodeBatch) for batch in batches)
    with pytest.raises(TypeError, match="no length"):
        len(stream.loader())


def test_a_loader_goes_on_where_it_was_left(stream: Stream) -> None:
    loader = stream.loader(stop=20, threads=2)
    for episode in loader:
        if episode.index == 6:
            break
    assert loader.state_dict() == {"next": 7}
    assert [episode.index for episode in loader] == list(range(7, 20))


@pytest.mark.parametrize("state", [{}, {"next": "7"}, {"next": 1.5}, {"next": -1}, {"next": 21}])
def test_what_is_no_state_is_refused(stream: Stream, state: dict) -> None:
    with pytest.raises(UsageError, match="the state is"):
        stream.loader(stop=20).load_state_dict(state)


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"threads": -1}, {"start": -1}])
def test_impossible_loaders_are_refused(stream: Stream, options: dict) -> None:
    with pytest.raises(UsageError, match="expected"):
        stream.loader(**options)


def test_the_callers_buffer_is_filled(stream: Stream) -> None:
    out = np.zeros((3, 18, 28, 28, 1), np.uint8)
    batch = stream.batch(4, 3, out)
    assert batch.support_images.base is out
    np.testing.assert_array_equal(out[1, :6], stream[5].support_images)
    with pytest.raises(UsageError, match=r"out is float32 .*expected contiguous uint8 \[3, 18"):
        stream.batch(4, 3, out.astype(np.float32))


def test_episodes_that_are_kept_are_never_overwritten(stream: Stream) -> None:
    kept = list(stream.iterate(0, 30, threads=2))
    views = [episode.query_images[1:3] for episode in stream.iterate(30, 60, threads=2)]
    for episode in stream.iterate(60, 200, threads=2):
        del episode
    assert all(same(episode, stream[episode.index]) for episode in kept)
    for index, view in enumerate(views, 30):
        np.testing.assert_array_equal(view, stream[index].query_images[1:3])


def test_a_pool_hands_a_buffer_out_again_only_when_nobody_holds_it() -> None:
    pool = BufferPool(2)
    first = pool.take((4, 5))
    address = first.ctypes.data
    assert pool.take((4, 5)).ctypes.data != address
    view = first[1:2]
    del first
    assert pool.take((2, 2)).ctypes.data != address
    del view
    gc.collect()
    assert pool.take((2, 2)).ctypes.data == address
    assert pool.take((100, 100)).shape == (100, 100)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_fork_while_another_thread_holds_the_lock_is_no_deadlock() -> None:
    pool = BufferPool(2)
    pool.take((3, 3))
    with pool._lock, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
        if child == 0:
            signal.alarm(10)
            pool.take((3, 3))
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def test_a_share_survives_pickling(stream: Stream) -> None:
    again = pickle.loads(pickle.dumps(stream.shard(1, 3)))
    assert same(again[4], stream[13])


def test_threads_and_descriptors_end_with_the_iteration(stream: Stream) -> None:
    def open_files() -> int:
        return len(os.listdir("/proc/self/fd"))

    before, files = threading.active_count(), open_files()
    for _ in range(20):
        for episode in stream.loader(threads=4):
            if episode.index == 3:
                break
        del episode
    gc.collect()
    assert threading.active_count() == before
    assert open_files() == files


def test_a_union_of_splits_has_the_classes_of_both(tiny_store: Store) -> None:
    both = tiny_store.stream("quarters.val+train", way=12, shot=1, query=1)
    assert both.split == "quarters.train+val"
    train, val = (tiny_store.split_classes(f"quarters.{part}") for part in ("train", "val"))
    assert set(both[0].class_ids) == set(train) | set(val)
    with pytest.raises(UsageError, match="names a part twice"):
        tiny_store.stream("train+train")
    with pytest.raises(UsageError, match="unknown split of tiny 'vall': did you mean 'val'"):
        tiny_store.stream("quarters.train+vall")


def test_counts_that_differ_by_class(tiny_store: Store) -> None:
    stream = tiny_store.stream("train", way=3, shot=(1, 4, 2), query=(5, 1, 3), seed=3)
    episode = stream[11]
    assert list(np.bincount(episode.support_labels)) == [1, 4, 2]
    assert list(np.bincount(episode.query_labels)) == [5, 1, 3]
    plan = stream.plan(11)
    rows = np.concatenate((plan.support_rows, plan.query_rows))
    assert len(set(rows)) == 16
    owners = np.searchsorted(tiny_store.class_starts, plan.query_rows, side="right") - 1
    np.testing.assert_array_equal(owners, plan.class_ids[plan.query_labels])
