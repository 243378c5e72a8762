import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from episodes.errors import UsageError
from episodes.sampling import VariableSpec
from episodes.sampling.ragged import ragged_shuffle
from episodes.sampling.variable import _weights
from tests.episodes.test_sampling_by_hand import fisher_yates


def test_the_defaults_are_those_of_all_published_results() -> None:
    spec = VariableSpec()
    assert json.loads(spec.canonical()) == {
        "min_ways": 5,
        "max_ways_upper_bound": 50,
        "max_num_query": 10,
        "max_support_set_size": 500,
        "max_support_size_contrib_per_class": 100,
        "min_log_weight": math.log(0.5),
        "max_log_weight": math.log(2),
        "min_examples_in_class": 0,
        "ignore_hierarchy_probability": 0,
    }
    assert (spec.most_ways, spec.most_rows, spec.least_images) == (50, 1000, 2)
    assert " " not in spec.canonical()


def test_fixed_numbers_take_the_place_of_drawn_ones() -> None:
    spec = VariableSpec(way=5, shot=1, query=15)
    assert {"way": 5, "shot": 1, "query": 15}.items() <= json.loads(spec.canonical()).items()
    assert (spec.most_ways, spec.most_rows, spec.least_images) == (5, 80, 16)
    ranged = VariableSpec(way=100, shot=[2, 6])
    assert (ranged.shot, ranged.most_rows, ranged.least_images) == ((2, 6), 1600, 7)


def test_equal_specs_are_one_line() -> None:
    assert VariableSpec(shot=(3, 3)) == VariableSpec(shot=3)
    mixed = VariableSpec(ignore_hierarchy_probability=1, source_weights=[1, 2])
    same = VariableSpec(ignore_hierarchy_probability=1.0, source_weights=(1.0, 2.0))
    assert mixed.canonical() == same.canonical()
    assert hash(mixed) == hash(same)
    assert mixed.canonical() != VariableSpec(source_weights=(1, 2), source_batch=8).canonical()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"way": 1}, "way is 1; expected a whole number, 2 to 2047, or None to draw it"),
        ({"way": 2.0}, "way is 2.0"),
        ({"shot": 0}, "shot is 0; expected a whole number of 1 or more, two of them"),
        ({"shot": (3, 2)}, r"shot is \(3, 2\)"),
        ({"shot": (1, 2, 3)}, r"shot is \(1, 2, 3\)"),
        ({"shot": "5"}, "shot is '5'"),
        ({"query": True}, "query is True; expected a whole number, 1 or more, or None to draw it"),
        ({"min_ways": 1}, "min_ways is 1; expected a whole number, 2 to 2047"),
        ({"max_ways_upper_bound": 4}, "max_ways_upper_bound is 4; expected a whole number, 5 to"),
        ({"max_support_set_size": 49}, "max_support_set_size is 49; .* 50 to 2047"),
        ({"way": 600}, "max_support_set_size is 500; expected a whole number, 600 to 2047"),
        ({"max_num_query": 0}, "max_num_query is 0"),
        ({"max_support_size_contrib_per_class": 0}, "contrib_per_class is 0"),
        ({"min_examples_in_class": -1}, "min_examples_in_class is -1"),
        ({"ignore_hierarchy_probability": 1.1}, "is 1.1; expected a number from 0 to 1"),
        ({"min_log_weight": math.inf}, "min_log_weight is inf; expected a number"),
        ({"min_log_weight": 1}, "max_log_weight is 0.69.*; expected a number from 1 to 11"),
        ({"source_weights": ()}, "expected one number for each source"),
        ({"source_weights": (1, 0)}, "source_weights has 0; expected numbers above 0"),
        ({"source_batch": 0}, "source_batch is 0; expected a whole number, 1 or more"),
    ],
)
def test_a_senseless_spec_is_refused(fields: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        VariableSpec(**fields)


@pytest.mark.parametrize("span", [0.0, 2 * math.log(2), 10.0])
def test_weights_are_exponentials(span: float) -> None:
    ends = np.array([0, 1, 2**63, 2**64 - 1], np.uint64)
    words = np.concatenate((ends, np.random.Philox(key=1).random_raw(500)))
    exact = [2**20 * math.exp(-span * (int(word) / 2**64)) for word in words]
    assert np.abs(_weights(words, span) - np.floor(exact)).max() <= 1
    assert (_weights(words, span) != np.floor(exact)).mean() < 0.01


@settings(max_examples=60, deadline=None)
@given(
    pairs=st.lists(st.tuples(st.integers(1, 40), st.integers(0, 9)), max_size=40),
    key=st.integers(0, 2**64 - 1),
)
def test_a_ragged_shuffle_is_fisher_yates_for_each(pairs: list[tuple[int, int]], key: int) -> None:
    sizes = [size for size, _ in pairs]
    counts = [min(size, count) for size, count in pairs]
    words = np.random.Philox(key=key).random_raw(sum(counts))
    found = ragged_shuffle(words, np.array(counts, np.int64), np.array(sizes, np.int64))
    expected, at = [], 0
    for count, size in zip(counts, sizes, strict=True):
        expected += fisher_yates(words[at : at + count].tolist(), size)
        at += count
    assert found.tolist() == expected
