"""Gathering many batches that were planned at once: the same images as a row at a time."""

import os
from pathlib import Path

import numpy as np
import pytest

from episodes.errors import EpisodesError
from episodes.store import Store
from episodes.store import open as open_store
from episodes.stream import stream
from tests.episodes.made_stores import FORMATS, encoded_all, make_store, random_images

POOL = ("ant", "bée/nest", "dog", "emu")  # the classes of more than one image
EVERY_FORMAT = pytest.mark.parametrize(("container", "encoding"), FORMATS)


def make(folder: Path, container: str, encoding: str, shard_bytes: int) -> Store:
    images = random_images()
    given = encoded_all(images) if encoding == "original" else images
    return make_store(folder, given, container, encoding, shard_bytes=shard_bytes)


@EVERY_FORMAT
@pytest.mark.parametrize("shard_bytes", [1, 2000, 1 << 20])
@pytest.mark.parametrize("size", [1, 3, 7, 30, 99])
def test_batches_of_rows_have_the_images_of_the_rows(
    tmp_path: Path, container: str, encoding: str, shard_bytes: int, size: int
) -> None:
    store = make(tmp_path / "made", container, encoding, shard_bytes)
    expected = np.stack(
        [image for of_class in random_images().values() for image in of_class.values()]
    )
    rows = np.random.default_rng(2).integers(0, 20, 30)
    gathers = store.gathers(rows, size)
    assert len(gathers) == -(-30 // size)
    for first, gather in zip(range(0, 30, size), gathers, strict=True):
        some = rows[first : first + size]
        out = np.zeros((len(some), 12, 12, 3), np.uint8)
        gather(out)
        np.testing.assert_array_equal(out, expected[some])


@EVERY_FORMAT
def test_no_rows_have_no_images(tmp_path: Path, container: str, encoding: str) -> None:
    store = make(tmp_path / "made", container, encoding, 2000)
    nothing = np.zeros(0, np.int64)
    assert store.images(nothing).shape == (0, 12, 12, 3)
    (gather,) = store.gathers(nothing, 4)
    gather(np.zeros((0, 12, 12, 3), np.uint8))
    batch = store.stream("train", 2, 1, 1, class_pool=POOL).batch(7, 0)
    assert batch.support_images.shape == (0, 2, 12, 12, 3) and len(batch) == 0


def test_a_row_that_is_not_there_is_told_when_it_is_planned(tmp_path: Path) -> None:
    store = make(tmp_path / "made", "hdf5", "raw", 2000)
    with pytest.raises(EpisodesError, match="the store has rows 0 .. 19"):
        store.gathers(np.array([3, 20]), 1)


@pytest.mark.parametrize("threads", [0, 1])
def test_a_shard_cut_short_between_plan_and_copy_is_an_error_and_not_a_crash(
    tmp_path: Path, threads: int
) -> None:
    store = make(tmp_path / "made", "hdf5", "raw", 1 << 20)
    batches = store.stream("train", 2, 1, 1, class_pool=POOL).batches(2, threads=threads)
    next(batches)
    os.truncate(store.path / store.info.shards[0].file, 100)
    with pytest.raises(EpisodesError, match="was changed while it was open"):
        for _ in range(4):
            next(batches)


def test_readings_of_several_stores_are_the_stream_s_episodes(tmp_path: Path) -> None:
    stores = [
        make(tmp_path / "pixels", "hdf5", "raw", 2000),
        make(tmp_path / "files", "webdataset", "original", 2000),
    ]
    both = stream([open_store(store.path) for store in stores], "train", 2, 1, 2, class_pool=POOL)
    sources = set()
    for count, read in both.readings(3, 30, 4):
        batch = read()
        assert len(batch) == count
        for position in range(count):
            episode, plan = batch[position], both.plan(int(batch.index[position]))
            sources.add(plan.source)
            images = stores[plan.source].images(plan.query_rows)
            np.testing.assert_array_equal(episode.query_images, images)
    assert sources == {0, 1}
