import hashlib

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from episodes.errors import UsageError
from episodes.sampling import EpisodeSpec, PlanBatch
from episodes.sampling.rng import FEW_ROWS, below, episode_words, partial_shuffle, plan_key
from episodes.sampling.spec import least_images
from episodes.sampling.uniform import uniform_plans
from tests.episodes.test_sampling_by_hand import class_table, fisher_yates

ARRAYS = ("source", "class_ids", "support_rows", "query_rows")
TABLES = [class_table(np.full(9, 12)), class_table(np.full(5, 40))]


def assert_same(found: PlanBatch, expected: PlanBatch, chosen: slice) -> None:
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name)[chosen])


@settings(max_examples=30, deadline=None)
@given(start=st.integers(0, 2**62), counts=st.lists(st.integers(1, 3000), min_size=1, max_size=4))
@example(start=2**62, counts=[7000, 1])
def test_any_way_of_cutting_gives_the_same_plans(start: int, counts: list[int]) -> None:
    spec = EpisodeSpec(3, 1, (2, 1, 4))
    whole = uniform_plans(TABLES, spec, 1, start, sum(counts))
    assert (whole.start, whole.step) == (start, 1)
    done = 0
    for count in counts:
        piece = uniform_plans(TABLES, spec, 1, start + done, count)
        assert_same(piece, whole, slice(done, done + count))
        done += count


@settings(max_examples=60, deadline=None)
@given(
    start=st.integers(0, 2**62),
    step=st.integers(1, 130),
    count=st.integers(0, 40),
    shot=st.sampled_from([1, 5, (1, 6)]),
)
def test_strided_plans_are_slices(
    start: int, step: int, count: int, shot: int | tuple[int, ...]
) -> None:
    spec = EpisodeSpec(2, shot, 1)
    whole = uniform_plans(TABLES, spec, 7, start, count * step)
    strided = uniform_plans(TABLES, spec, 7, start, count, step)
    assert (strided.start, strided.step) == (start, step)
    assert_same(strided, whole, slice(None, None, step))


@pytest.mark.parametrize("step", [2, 3, 8, 64])
def test_long_strided_plans_are_slices(step: int) -> None:
    spec = EpisodeSpec(5, 1, 5)
    whole = uniform_plans(TABLES, spec, 7, 10**12, 3000 * step)
    assert_same(uniform_plans(TABLES, spec, 7, 10**12, 3000, step), whole, slice(None, None, step))


def test_no_plans_are_empty_plans() -> None:
    spec = EpisodeSpec(3, (1, 2, 3), 2)
    plans = uniform_plans(TABLES, spec, 1, 5, 0, 4)
    shapes = [getattr(plans, name).shape for name in ARRAYS]
    assert shapes == [(0,), (0, 3), (0, 6), (0, 6)]


def test_words_scale_exactly() -> None:
    words = [0, 1, 2**32 - 1, 2**32, 2**63 + 12345, 2**64 - 1]
    for bound in (1, 2, 20, 600, 2**31 + 7, 2**32 - 1):
        found = below(np.array(words, np.uint64), np.uint64(bound))
        assert found.tolist() == [word * bound >> 64 for word in words]


@settings(deadline=None)
@given(size=st.integers(1, 40), rows=st.integers(1, 3 * FEW_ROWS), data=st.data())
def test_a_partial_shuffle_is_fisher_yates(size: int, rows: int, data: st.DataObject) -> None:
    steps = data.draw(st.integers(1, size))
    word = st.integers(0, 2**64 - 1)
    words = data.draw(st.lists(word, min_size=steps * rows, max_size=steps * rows))
    # Rows of the least size repeat places most; the others show that each row has its own.
    sizes = [size + row % 3 for row in range(rows)]
    array = np.array(words, np.uint64).reshape(rows, steps)
    found = partial_shuffle(array, np.array(sizes))
    expected = [fisher_yates(row.tolist(), n) for row, n in zip(array, sizes, strict=True)]
    assert found.tolist() == expected


@pytest.mark.parametrize(
    ("rows", "steps", "size"),
    [(2000, 20, 20), (2000, 20, 600), (FEW_ROWS + 1, 300, 70_000), (12, 127, 260), (12, 129, 255)],
)
def test_a_large_shuffle_is_fisher_yates(rows: int, steps: int, size: int) -> None:
    words = episode_words(key=4, start=0, count=rows, words=steps)
    before = words.copy()
    found = partial_shuffle(words, np.full(rows, size))
    assert found.tolist() == [fisher_yates(row, size) for row in words.tolist()]
    np.testing.assert_array_equal(words, before)


def test_places_of_huge_classes_are_exact() -> None:
    words = np.full((FEW_ROWS + 1, 2), 2**64 - 1, np.uint64)
    found = partial_shuffle(words, np.full(len(words), 2**32 - 1))
    assert found.tolist() == [[2**32 - 2, 0]] * len(words)
    assert partial_shuffle(words[:1], np.array([2**32 - 1])).tolist() == [[2**32 - 2, 0]]


def test_words_do_not_depend_on_where_reading_begins() -> None:
    whole = episode_words(key=9, start=0, count=900, words=7)
    np.testing.assert_array_equal(episode_words(9, 31, 2, 7), whole[31:33])
    for step in (2, 50, 75, 76, 77, 200):
        np.testing.assert_array_equal(episode_words(9, 31, 4, 7, step), whole[31::step][:4])


def test_the_key_is_the_start_of_sha_256() -> None:
    spec = EpisodeSpec(5, 1, 15)
    assert spec.canonical() == '{"query":15,"shot":1,"way":5}'
    identity = b'plan/1\n7\nlake.val\n{"query":15,"shot":1,"way":5}'
    expected = int.from_bytes(hashlib.sha256(identity).digest()[:16], "little")
    assert plan_key(7, "lake.val", spec.canonical()) == expected
    assert EpisodeSpec(5, 1, 15, ("b", "a")).canonical().startswith('{"class_pool":["a","b"]')


def test_counts_can_differ_between_classes() -> None:
    spec = EpisodeSpec(3, (5, 1, 2), (1, 6, 2))
    assert spec.canonical() == '{"query":[1,6,2],"shot":[5,1,2],"way":3}'
    assert spec.support_counts.tolist() == [5, 1, 2]
    assert spec.query_counts.tolist() == [1, 6, 2]
    assert (spec.support_size, spec.query_size, least_images(spec)) == (8, 9, 7)
    assert spec.support_labels.tolist() == [0, 0, 0, 0, 0, 1, 2, 2]
    assert spec.query_labels.tolist() == [0, 1, 1, 1, 1, 1, 1, 2, 2]
    plain = EpisodeSpec(3, 2, (1, 6, 2))
    assert plain.support_counts.tolist() == [2, 2, 2]
    assert (plain.support_size, plain.support_labels.tolist()) == (6, [0, 0, 1, 1, 2, 2])
    arrays = (plain.support_counts, plain.support_labels, plain.query_labels)
    assert {array.dtype for array in arrays} == {np.dtype(np.int64)}


def test_equal_counts_are_one_number() -> None:
    spec = EpisodeSpec(3, (2, 2, 2), [4, 4, 4])
    assert spec == EpisodeSpec(3, 2, 4)
    assert (spec.shot, spec.query) == (2, 4)
    assert spec.canonical() == EpisodeSpec(3, 2, 4).canonical()
    assert hash(EpisodeSpec(3, [1, 2, 3], 4)) == hash(EpisodeSpec(3, (1, 2, 3), 4))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ((1, 1, 15), "way is 1; expected a whole number of 2 or more"),
        ((5, 0, 15), "shot is 0; expected a whole number of 1 or more"),
        ((5, 1, 1.5), "query is 1.5"),
        ((5, True, 15), "shot is True"),
        ((5, "5", 15), "shot is '5'; expected a whole number of 1 or more, or one for each class"),
        ((3, (1, 2), 15), r"shot is \(1, 2\), 2 numbers; expected one number, or one for each of"),
        ((3, 1, ()), r"query is \(\), 0 numbers; expected one number, or one for each of 3 cl"),
        ((3, 1, (1, 0, 2)), r"query is \(1, 0, 2\); expected whole numbers of 1 or more, found 0"),
        ((2, (1, True), 1), "whole numbers of 1 or more, found True"),
        ((2, 1, 1, ("a", "a")), "class_pool names a class more than once"),
    ],
)
def test_a_senseless_spec_is_refused(fields: tuple, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        EpisodeSpec(*fields)
