"""What is said of a split with too few classes: another split, another way, or no validation."""

from pathlib import Path

import numpy as np
import pytest

import episodes
from episodes.errors import UsageError
from trainers.class_counts import check_ways
from trainers.config import complete

PROTONET = {"algo": "protonet"}


@pytest.fixture
def store(tmp_path: Path) -> episodes.Store:
    """A store of one scheme: 9 classes to train, 3 to validate and 6 to test."""
    names = [f"class{number:02d}" for number in range(18)]
    parts = {"train": names[:9], "val": names[9:12], "test": names[12:]}
    images = np.random.default_rng(0).integers(0, 256, (36, 16, 16), np.uint8)
    return episodes.from_arrays(images, names * 2, name="few", **parts, out=tmp_path / "few")


def refusal(store: episodes.Store, **given: object) -> str:
    settings = {"dataset": str(store.path), **given}
    config = complete(settings, {"split": store.default_scheme, "threads": 1})
    with pytest.raises(UsageError) as refused:
        check_ways(store, config)
    return str(refused.value).partition("; too few for way ")[2]


def test_where_validation_alone_is_small_it_can_be_left_out(store: episodes.Store) -> None:
    assert refusal(store) == "5: add --way 3, or --val-episodes 0"


def test_an_algorithm_for_any_way_keeps_the_way_of_training(store: episodes.Store) -> None:
    expected = "5: add --way 3 --train-way 5, or --val-episodes 0"
    assert refusal(store, **PROTONET) == expected
    assert refusal(store, **PROTONET, train_way=20) == "20: add --way 3 --train-way 9"


def test_what_no_way_mends_needs_a_larger_dataset(store: episodes.Store) -> None:
    assert refusal(store, val_episodes=0, way=7) == "7: add --way 6"


def test_ways_that_fit_are_not_refused(store: episodes.Store) -> None:
    settings = {"dataset": str(store.path), "val_episodes": 0, "way": 6}
    check_ways(store, complete(settings, {"split": store.default_scheme, "threads": 1}))


def test_another_scheme_with_enough_classes_is_named(grey: Path) -> None:
    opened = episodes.open(grey)
    assert [len(opened.split_classes(f"halves.{part}")) for part in ("train", "test")] == [12, 12]
    config = complete({"dataset": str(grey), "way": 7}, {"split": "quarters", "threads": 1})
    with pytest.raises(UsageError, match="way 7: add --split halves$"):
        check_ways(opened, config)
