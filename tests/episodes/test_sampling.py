import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from episodes import manifest
from episodes.errors import UsageError
from episodes.sampling import ClassTable, EpisodeSpec, PlanBatch
from episodes.sampling.rng import below, episode_words, partial_shuffle, plan_key
from episodes.sampling.uniform import uniform_plans

# Hashes of plans by algorithm plan/1. They must never change: a paper's episodes hang on them.
GOLDEN = {
    "omniglot": "4321745f57d75acd05424147855f8cd05baa4507b3805410128e65299723c8ee",
    "miniimagenet": "7b3d2fd6cef7858d59fc67f36f4b15529adaf1ca5e2066adc82be7f8495cb434",
    "uneven": "a94e9bfc00eb6b2e70eac29890224d9c2787114f7f87fd766a83c99eb48a76f0",
}


def class_table(sizes: np.ndarray) -> ClassTable:
    starts = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    return ClassTable(np.arange(len(sizes)), starts, sizes)


def table_of(name: str) -> ClassTable:
    if name == "omniglot":
        facts = manifest.load("omniglot")
        ids = np.array(facts.schemes["vinyals"].classes["test"])
        return ClassTable(ids, ids * 20, np.full(len(ids), 20))
    if name == "miniimagenet":
        return class_table(np.full(64, 600))
    return class_table(np.array([40 + 7 * index for index in range(30)]))


def philox4x64_10(key: int, counter: int) -> list[int]:
    """Salmon et al. 2011, written out: one block of four 64-bit words."""
    mask = 2**64 - 1
    words = [counter >> 64 * index & mask for index in range(4)]
    k0, k1 = key & mask, key >> 64
    for _ in range(10):
        low = 0xD2E7470EE14C6C93 * words[0], 0xCA5A826395121157 * words[2]
        words = [
            low[1] >> 64 ^ words[1] ^ k0,
            low[1] & mask,
            low[0] >> 64 ^ words[3] ^ k1,
            low[0] & mask,
        ]
        k0, k1 = (k0 + 0x9E3779B97F4A7C15) & mask, (k1 + 0xBB67AE8584CAA73B) & mask
    return words


def fisher_yates(words: list[int], size: int) -> list[int]:
    deck = list(range(size))
    for step, word in enumerate(words):
        other = step + (word * (size - step) >> 64)
        deck[step], deck[other] = deck[other], deck[step]
    return deck[: len(words)]


def plan_by_hand(
    table: ClassTable, spec: EpisodeSpec, key: int, index: int
) -> tuple[list[int], list[int], list[int]]:
    """One plan in plain Python, from a Philox and a Fisher-Yates written out."""
    per_class = spec.shot + spec.query
    blocks = -(-(1 + spec.way + spec.way * per_class) // 4)
    # NumPy's Philox steps its counter before each block.
    words = [
        word for block in range(blocks) for word in philox4x64_10(key, index * blocks + block + 1)
    ]
    positions = fisher_yates(words[1 : 1 + spec.way], len(table.class_ids))
    support, query = [], []
    for label, position in enumerate(positions):
        first = 1 + spec.way + label * per_class
        drawn = fisher_yates(words[first : first + per_class], int(table.sizes[position]))
        rows = [int(table.starts[position]) + row for row in drawn]
        support += rows[: spec.shot]
        query += rows[spec.shot :]
    return [int(table.class_ids[position]) for position in positions], support, query


def plan_hash(plans: PlanBatch) -> str:
    digest = hashlib.sha256()
    for name in ("source", "class_ids", "support_rows", "query_rows"):
        digest.update(getattr(plans, name).astype("<i8").tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize("name", ["omniglot", "miniimagenet", "uneven"])
@pytest.mark.parametrize("index", [0, 1, 12345, 10**12])
def test_a_plan_equals_the_one_made_by_hand(name: str, index: int) -> None:
    table, spec = table_of(name), EpisodeSpec(5, 2, 7)
    key = plan_key(3, "vinyals.test", spec.canonical())
    plans = uniform_plans([table], spec, key, index, 2)
    classes, support, query = plan_by_hand(table, spec, key, index)
    assert list(plans.class_ids[0]) == classes
    assert list(plans.support_rows[0]) == support
    assert list(plans.query_rows[0]) == query


@pytest.mark.parametrize("name", ["omniglot", "miniimagenet", "uneven"])
def test_plans_never_change(name: str) -> None:
    spec = EpisodeSpec(5, 1, 15)
    key = plan_key(1, "scheme.test", spec.canonical())
    tables = [table_of(name)]
    near = uniform_plans(tables, spec, key, 0, 600)
    far = uniform_plans(tables, spec, key, 10**12, 600)
    found = hashlib.sha256((plan_hash(near) + plan_hash(far)).encode()).hexdigest()
    assert found == GOLDEN[name]


def test_the_key_is_the_start_of_sha_256() -> None:
    spec = EpisodeSpec(5, 1, 15)
    assert spec.canonical() == '{"query":15,"shot":1,"way":5}'
    identity = b'plan/1\n7\nlake.val\n{"query":15,"shot":1,"way":5}'
    expected = int.from_bytes(hashlib.sha256(identity).digest()[:16], "little")
    assert plan_key(7, "lake.val", spec.canonical()) == expected
    assert EpisodeSpec(5, 1, 15, ("b", "a")).canonical().startswith('{"class_pool":["a","b"]')


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(6, 50), min_size=3, max_size=30),
    way=st.integers(2, 3),
    shot=st.integers(1, 3),
    query=st.integers(1, 3),
    key=st.integers(0, 2**128 - 1),
    start=st.integers(0, 10**15),
)
def test_plans_are_what_was_asked_for(
    sizes: list[int], way: int, shot: int, query: int, key: int, start: int
) -> None:
    table, spec = class_table(np.array(sizes)), EpisodeSpec(way, shot, query)
    plans = uniform_plans([table], spec, key, start, 5)
    for episode in range(5):
        classes = plans.class_ids[episode]
        assert len(set(classes)) == way
        rows = np.concatenate(
            (
                plans.support_rows[episode].reshape(way, shot),
                plans.query_rows[episode].reshape(way, query),
            ),
            axis=1,
        )
        assert len(set(rows.flat)) == way * (shot + query)
        for class_id, mine in zip(classes, rows, strict=True):
            assert (mine >= table.starts[class_id]).all()
            assert (mine < table.starts[class_id] + sizes[class_id]).all()


@settings(max_examples=30, deadline=None)
@given(start=st.integers(0, 10**12), counts=st.lists(st.integers(1, 3000), min_size=1, max_size=4))
def test_any_way_of_cutting_gives_the_same_plans(start: int, counts: list[int]) -> None:
    table, spec = class_table(np.full(9, 12)), EpisodeSpec(3, 1, 2)
    whole = uniform_plans([table], spec, 1, start, sum(counts))
    for count in counts:
        piece = uniform_plans([table], spec, 1, start, count)
        offset = start - whole.start
        expected = whole.support_rows[offset : offset + count]
        np.testing.assert_array_equal(piece.support_rows, expected)
        start += count


def chi_square(counts: np.ndarray) -> float:
    expected = counts.sum() / counts.size
    return float(((counts - expected) ** 2 / expected).sum())


def test_classes_images_and_labels_are_drawn_uniformly() -> None:
    table, spec = class_table(np.full(10, 8)), EpisodeSpec(4, 1, 3)
    plans = uniform_plans([table], spec, 5, 0, 20_000)
    by_label = np.stack(
        [np.bincount(plans.class_ids[:, label], minlength=10) for label in range(4)]
    )
    support = np.bincount(plans.support_rows.reshape(-1), minlength=80)
    query = np.bincount(plans.query_rows.reshape(-1), minlength=80)
    # 99.9 % points of chi-square with 9 and 79 degrees of freedom; queries of an episode are
    # drawn without replacement, which only lowers the statistic.
    assert all(chi_square(counts) < 27.88 for counts in by_label)
    assert chi_square(support) < 124.84
    assert chi_square(query) < 124.84


def test_each_source_is_equally_likely_and_an_episode_keeps_to_one() -> None:
    first = class_table(np.full(6, 5))
    second = ClassTable(np.arange(3), np.arange(3) * 9, np.full(3, 9))
    plans = uniform_plans([first, second], EpisodeSpec(3, 1, 2), 11, 0, 4000)
    assert 1850 < int(plans.source.sum()) < 2150
    assert plans.class_ids[plans.source == 1].max() == 2
    assert plans.class_ids[plans.source == 0].max() == 5
    rows = np.concatenate((plans.support_rows, plans.query_rows), axis=1)
    assert (rows[plans.source == 0] < 30).all()
    assert (rows[plans.source == 1] < 27).all()


def test_words_scale_exactly() -> None:
    words = [0, 1, 2**32 - 1, 2**32, 2**63 + 12345, 2**64 - 1]
    for bound in (1, 2, 20, 600, 2**31 + 7, 2**32 - 1):
        found = below(np.array(words, np.uint64), np.uint64(bound))
        assert found.tolist() == [word * bound >> 64 for word in words]


@settings(deadline=None)
@given(size=st.integers(1, 40), data=st.data())
def test_a_partial_shuffle_is_fisher_yates(size: int, data: st.DataObject) -> None:
    steps = data.draw(st.integers(1, size))
    words = data.draw(st.lists(st.integers(0, 2**64 - 1), min_size=steps, max_size=steps))
    column = np.array(words, np.uint64)[:, np.newaxis]
    found = partial_shuffle(column, np.array([size], np.uint64))[:, 0]
    assert found.tolist() == fisher_yates(words, size)


def test_words_do_not_depend_on_where_reading_begins() -> None:
    whole = episode_words(key=9, start=0, count=50, words=7)
    np.testing.assert_array_equal(episode_words(9, 31, 2, 7), whole[31:33])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ((1, 1, 15), "way is 1; expected a whole number of 2 or more"),
        ((5, 0, 15), "shot is 0; expected a whole number of 1 or more"),
        ((5, 1, 1.5), "query is 1.5"),
        ((5, True, 15), "shot is True"),
        ((2, 1, 1, ("a", "a")), "class_pool names a class more than once"),
    ],
)
def test_a_senseless_spec_is_refused(fields: tuple, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        EpisodeSpec(*fields)
