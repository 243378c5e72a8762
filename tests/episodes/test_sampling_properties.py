"""What every plan has, whatever was asked for; and that the draws are uniform."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from episodes.sampling import ClassTable, EpisodeSpec
from episodes.sampling.spec import least_images
from episodes.sampling.uniform import uniform_plans
from tests.episodes.test_sampling_by_hand import class_table, each_class

KEYS = st.integers(0, 2**128 - 1)


@st.composite
def specs(draw: st.DrawFn) -> EpisodeSpec:
    way = draw(st.integers(2, 4))
    count = st.integers(1, 4)
    counts = count | st.tuples(*[count] * way)
    return EpisodeSpec(way, draw(counts), draw(counts))


@st.composite
def tables_for(draw: st.DrawFn, spec: EpisodeSpec) -> ClassTable:
    """Classes in any order, with gaps between their rows and ids that are not positions."""
    least = least_images(spec)
    sizes = draw(st.lists(st.integers(least, least + 30), min_size=spec.way, max_size=12))
    rows, table = draw(st.integers(0, 1000)), []
    for size in sizes:
        table.append((rows, size))
        rows += size + draw(st.integers(0, 3))
    table = draw(st.permutations(table))
    ids = draw(st.permutations(range(100, 100 + len(sizes))))
    return ClassTable(np.array(ids), *(np.array(column) for column in zip(*table, strict=True)))


@settings(max_examples=60, deadline=None)
@given(data=st.data(), spec=specs(), key=KEYS, start=st.integers(0, 2**62))
def test_plans_are_what_was_asked_for(
    data: st.DataObject, spec: EpisodeSpec, key: int, start: int
) -> None:
    tables = data.draw(st.lists(tables_for(spec), min_size=1, max_size=3))
    plans = uniform_plans(tables, spec, key, start, 10)
    shots, queries = each_class(spec.shot, spec.way), each_class(spec.query, spec.way)
    for array in (plans.source, plans.class_ids, plans.support_rows, plans.query_rows):
        assert (array.dtype, len(array)) == (np.int64, 10)
    assert plans.class_ids.shape[1] == spec.way
    for episode in range(10):
        table = tables[plans.source[episode]]
        owner = {
            int(start) + offset: int(class_id)
            for class_id, start, size in zip(
                table.class_ids, table.starts, table.sizes, strict=True
            )
            for offset in range(size)
        }
        classes = plans.class_ids[episode].tolist()
        support, query = plans.support_rows[episode].tolist(), plans.query_rows[episode].tolist()
        assert len(set(classes)) == spec.way
        assert len(set(support + query)) == len(support) + len(query)
        assert [owner[row] for row in support] == np.repeat(classes, shots).tolist()
        assert [owner[row] for row in query] == np.repeat(classes, queries).tolist()
        assert [classes[label] for label in spec.support_labels] == [owner[row] for row in support]
        assert [classes[label] for label in spec.query_labels] == [owner[row] for row in query]


def p_value(counts: np.ndarray) -> float:
    """Of chi-square against equal frequencies along the last axis, whatever each line's total.

    By Wilson and Hilferty's approximation, good to a few percent here.
    """
    expected = counts.mean(axis=-1, keepdims=True)
    statistic = float(((counts - expected) ** 2 / expected).sum())
    freedom = counts.size - counts.size // counts.shape[-1]
    spread = 2 / (9 * freedom)
    deviation = ((statistic / freedom) ** (1 / 3) - (1 - spread)) / math.sqrt(spread)
    return math.erfc(deviation / math.sqrt(2)) / 2


def test_the_p_value_is_that_of_the_tables() -> None:
    # The 99.9 % point of chi-square with 9 degrees of freedom is 27.88.
    share = math.sqrt(27.88 * 100 / 10)
    counts = np.full(10, 100.0) + share * np.array([1, -1] * 5)
    assert p_value(counts) == pytest.approx(1e-3, rel=0.1)


@pytest.mark.parametrize("shot", [1, 3, (3, 1, 2, 4)])
def test_classes_and_labels_are_drawn_uniformly(shot: int | tuple[int, ...]) -> None:
    table, spec = class_table(np.array([9, 8, 12, 7, 20, 9, 11, 8, 10, 9])), EpisodeSpec(4, shot, 2)
    plans = uniform_plans([table], spec, 5, 0, 20_000)
    by_label = np.stack(
        [np.bincount(plans.class_ids[:, label], minlength=10) for label in range(4)]
    )
    assert by_label.sum() == 80_000
    assert min(map(p_value, by_label)) > 1e-4
    # Which class has a label says nothing of which has the next.
    pairs = np.bincount(plans.class_ids[:, 0] * 10 + plans.class_ids[:, 1], minlength=100)
    assert not pairs[::11].any()
    assert p_value(pairs[np.arange(100) % 11 != 0]) > 1e-4


@pytest.mark.parametrize("shot", [2, (3, 1, 2)])
@pytest.mark.parametrize("size", [8, 30])
def test_images_of_a_class_are_drawn_uniformly(size: int, shot: int | tuple[int, ...]) -> None:
    classes = 6
    table, spec = class_table(np.full(classes, size)), EpisodeSpec(3, shot, 4)
    plans = uniform_plans([table], spec, 8, 0, 20_000)
    support_label, query_label = spec.support_labels, spec.query_labels
    for rows, labels in ((plans.support_rows, support_label), (plans.query_rows, query_label)):
        # Each place of the set by itself: draws of one episode exclude one another.
        for place, label in enumerate(labels):
            counts = np.bincount(rows[:, place], minlength=classes * size)
            assert p_value(counts.reshape(classes, size)) > 1e-4
            assert (rows[:, place] // size == plans.class_ids[:, label]).all()
    # A support image and the query image after it: every ordered pair of a class alike.
    first = plans.support_rows[:, 0] % size, plans.query_rows[:, 0] % size
    pairs = np.bincount(first[0] * size + first[1], minlength=size**2)
    assert not pairs[:: size + 1].any()
    assert p_value(pairs[np.arange(size**2) % (size + 1) != 0]) > 1e-4


def test_each_source_is_equally_likely_and_an_episode_keeps_to_one() -> None:
    first = class_table(np.full(6, 5))
    second = ClassTable(np.arange(3), np.arange(3) * 9, np.full(3, 9))
    third = ClassTable(np.arange(50, 54), 1000 + np.arange(4) * 7, np.full(4, 7))
    plans = uniform_plans([first, second, third], EpisodeSpec(3, 1, 2), 11, 0, 20_000)
    assert p_value(np.bincount(plans.source, minlength=3)) > 1e-4
    rows = np.concatenate((plans.support_rows, plans.query_rows), axis=1)
    for source, classes, images in ((0, (0, 5), (0, 29)), (1, (0, 2), (0, 26))):
        mine = plans.source == source
        assert (plans.class_ids[mine].min(), plans.class_ids[mine].max()) == classes
        assert (rows[mine].min(), rows[mine].max()) == images
        counts = np.bincount(plans.class_ids[mine, 0])
        assert p_value(counts) > 1e-4
    mine = plans.source == 2
    assert set(plans.class_ids[mine].flat) == {50, 51, 52, 53}
    assert (rows[mine].min(), rows[mine].max()) == (1000, 1027)
