"""What every variable plan has, whatever was asked for."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from episodes.sampling import EpisodePlan
from episodes.sampling.pools import Pools, bilevel_pools, flat_pools
from episodes.sampling.variable import WORDS_AT_ONCE, VariablePlans
from episodes.sampling.variable_spec import VariableSpec
from tests.episodes.test_sampling_by_hand import class_table
from tests.episodes.test_variable_sampling_by_hand import Source, plans_of, real_pools

KEYS = st.integers(0, 2**128 - 1)
ARRAYS = (
    "source",
    "ways",
    "class_ids",
    "support_counts",
    "query_counts",
    "support_rows",
    "query_rows",
)


@st.composite
def specs(draw: st.DrawFn) -> VariableSpec:
    few = st.integers(1, 4)
    least = draw(st.integers(2, 6))
    most = draw(st.integers(least, 20))
    return VariableSpec(
        shot=draw(st.none() | few | st.tuples(few, few).map(sorted).map(tuple)),
        query=draw(st.none() | few),
        min_ways=least,
        max_ways_upper_bound=most,
        max_num_query=draw(st.integers(1, 12)),
        max_support_set_size=draw(st.integers(most, 120)),
        max_support_size_contrib_per_class=draw(st.integers(1, 100)),
        min_log_weight=draw(st.floats(-3, 0)),
        max_log_weight=draw(st.floats(0, 3)),
        min_examples_in_class=draw(st.sampled_from([8, 12])),
        ignore_hierarchy_probability=draw(st.sampled_from([0, 0.5, 1])),
        source_batch=draw(st.none() | few),
    )


@st.composite
def sources(draw: st.DrawFn) -> Source:
    """Classes of 4 to 400 images, three of them of 12 or more at least, in one to three pools."""
    small = st.integers(4, 30)
    sizes = [12, 40, 400, *draw(st.lists(small | st.integers(12, 400), max_size=27))]
    classes = len(sizes)
    superclass = draw(st.lists(st.sampled_from("abc"), min_size=classes, max_size=classes))
    superclass[:2] = "aa"
    overlapping = Pools((tuple(range(classes)), tuple(range(2)), tuple(range(1, 3))), False)
    pools = draw(st.sampled_from([flat_pools(classes), bilevel_pools(superclass), overlapping]))
    return class_table(np.array(sizes)), pools


@settings(max_examples=30, deadline=None)
@given(
    some=st.lists(sources(), min_size=1, max_size=3),
    spec=specs(),
    key=KEYS,
    start=st.integers(0, 2**62),
)
def test_plans_keep_to_the_rules(
    some: list[Source], spec: VariableSpec, key: int, start: int
) -> None:
    plans = plans_of(some, spec, key, start, 10)
    assert len(plans) == 10
    for position, plan in enumerate(plans):
        way, classes = int(plans.ways[position]), plan.class_ids
        support, query = plans.support_counts[position], plans.query_counts[position]
        table, pools = some[plan.source]
        large = set(np.flatnonzero(table.sizes >= spec.min_examples_in_class).tolist())
        members = [large & set(pool) for pool in pools.classes]
        homes = [pool for pool in members if len(pool) > 1 and pool >= set(classes.tolist())]
        if spec.ignore_hierarchy_probability:
            homes.append(large)
        ranges = [
            (min(spec.min_ways, len(home)), min(spec.max_ways_upper_bound, len(home)))
            for home in homes
        ]
        assert large >= set(classes.tolist()) and len(set(classes.tolist())) == len(classes) == way
        assert any(least <= way <= most for least, most in ranges)
        if spec.ignore_hierarchy_probability == 0 and not pools.draws_way:
            assert way in {most for _, most in ranges}

        sizes = table.sizes[classes]
        asked = spec.query or min(spec.max_num_query, min(sizes) // 2)
        if spec.shot and not spec.query:
            asked = min(spec.max_num_query, min(sizes) - np.max(spec.shot))
        assert query[:way].tolist() == [asked] * way
        assert (support[:way] >= 1).all() and (support + query)[:way].tolist() <= sizes.tolist()
        assert (support + query <= np.append(sizes, np.zeros(spec.most_ways - way))).all()
        if spec.shot is None:
            assert support.sum() <= spec.max_support_set_size
        else:
            assert np.min(spec.shot) <= support[0] <= np.max(spec.shot)
            assert len(set(support[:way].tolist())) == 1
        padding = [set(array[way:].tolist()) for array in (support, query)]
        assert padding == [{0} if way < spec.most_ways else set()] * 2
        assert (plans.class_ids[position, way:] == -1).all()

        rows = np.concatenate((plan.support_rows, plan.query_rows))
        labels = np.concatenate((plan.support_labels, plan.query_labels))
        assert len(set(rows.tolist())) == len(rows) == (support + query).sum()
        assert np.bincount(plan.support_labels, minlength=way).tolist() == support[:way].tolist()
        assert np.bincount(plan.query_labels, minlength=way).tolist() == query[:way].tolist()
        first = table.starts[classes][labels]
        assert ((first <= rows) & (rows < first + sizes[labels])).all()


def assert_same(found: VariablePlans, expected: Sequence[EpisodePlan]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert (one.index, one.source) == (other.index, other.source)
        for name in ("class_ids", "support_rows", "support_labels", "query_rows", "query_labels"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


@settings(max_examples=15, deadline=None)
@given(
    start=st.integers(0, 2**62),
    counts=st.lists(st.integers(0, 20), min_size=1, max_size=3),
    step=st.integers(1, 9),
    batch=st.none() | st.integers(1, 20),
)
def test_any_way_of_cutting_gives_the_same_plans(
    start: int, counts: list[int], step: int, batch: int | None
) -> None:
    some = [(class_table(np.arange(10, 30)), flat_pools(20)) for _ in range(2)]
    spec = VariableSpec(max_ways_upper_bound=8, max_support_set_size=60, source_batch=batch)
    whole = list(plans_of(some, spec, 7, start, sum(counts) * step))[::step]
    done = 0
    for count in counts:
        part = plans_of(some, spec, 7, start + done * step, count, step)
        assert_same(part, whole[done : done + count])
        done += count


def test_many_plans_are_those_of_smaller_calls() -> None:
    some, spec = [(class_table(np.arange(10, 30)), flat_pools(20))], VariableSpec()
    count = 2 * WORDS_AT_ONCE // spec.words + 5
    whole = plans_of(some, spec, 7, 10**12, count)
    first = plans_of(some, spec, 7, 10**12, 300)
    for name in ARRAYS:
        array = getattr(whole, name)
        assert array.dtype == np.int64
        rest = getattr(plans_of(some, spec, 7, 10**12 + 300, count - 300), name)
        np.testing.assert_array_equal(array, np.concatenate((getattr(first, name), rest)))


def test_no_plans_are_empty_plans() -> None:
    some = [(class_table(np.arange(10, 30)), flat_pools(20))] * 2
    plans = plans_of(some, VariableSpec(source_batch=4), 7, 5, 0)
    shapes = [getattr(plans, name).shape for name in ARRAYS]
    assert shapes == [(0,), (0,), (0, 50), (0, 50), (0, 50), (0,), (0,)]
    assert plans.support_offsets.tolist() == plans.query_offsets.tolist() == [0]
    assert list(plans) == []


def test_a_plan_is_reached_from_either_end() -> None:
    some = [(class_table(np.arange(10, 30)), flat_pools(20))]
    plans = plans_of(some, VariableSpec(), 7, 100, 5, 3)
    assert_same(plans_of(some, VariableSpec(), 7, 112, 1), [plans[-1]])
    with pytest.raises(IndexError):
        plans[5]


def test_the_classes_of_imagenet_are_below_one_node() -> None:
    pools = real_pools("imagenet", "train")
    plans = plans_of([(class_table(np.full(712, 1300)), pools)], VariableSpec(), 2, 0, 300)
    eligible = [set(pool) for pool in pools.classes]
    whole = {frozenset(pool) for pool in eligible}
    for plan in plans:
        drawn = frozenset(plan.class_ids.tolist())
        if len(drawn) < 50:
            assert drawn in whole
        else:
            assert any(drawn <= pool for pool in eligible)


def test_the_classes_of_omniglot_are_of_one_alphabet() -> None:
    pools = real_pools("omniglot", "test")
    plans = plans_of([(class_table(np.full(659, 20)), pools)], VariableSpec(), 2, 0, 500)
    alphabet = {at: index for index, pool in enumerate(pools.classes) for at in pool}
    seen = [{alphabet[at] for at in plan.class_ids.tolist()} for plan in plans]
    assert max(map(len, seen)) == 1
    assert set.union(*seen) == set(range(20))
    assert plans.ways.min() == 5


@pytest.mark.parametrize("batch", [None, 4])
def test_sources_are_drawn_by_their_weights_and_kept_for_a_batch(batch: int | None) -> None:
    some = [(class_table(np.full(6, 8)), flat_pools(6)) for _ in range(3)]
    spec = VariableSpec(way=2, shot=1, query=1, source_weights=(1, 2, 0.5), source_batch=batch)
    source = plans_of(some, spec, 3, 5 * 4, 4 * 1000).source
    of_batch = source.reshape(-1, batch or 1)
    assert (of_batch == of_batch[:, :1]).all()
    shares = np.bincount(of_batch[:, 0]) / len(of_batch)
    assert shares == pytest.approx(np.array([2, 4, 1]) / 7, abs=0.06)


def test_a_vanishing_weight_is_no_overflow() -> None:
    some = [(class_table(np.full(6, 8)), flat_pools(6)) for _ in range(2)]
    spec = VariableSpec(way=2, shot=1, query=1, source_weights=(1, 1e-300))
    assert not plans_of(some, spec, 3, 0, 100).source.any()
