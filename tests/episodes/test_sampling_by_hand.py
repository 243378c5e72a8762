"""Algorithm plan/1 in plain Python, and the plans that must never change, computed with it."""

import hashlib

import numpy as np
import pytest

from episodes import manifest
from episodes.sampling import ClassTable, EpisodeSpec, PlanBatch
from episodes.sampling.rng import plan_key
from episodes.sampling.uniform import uniform_plans

MASK = 2**64 - 1
FAR = 10**12

# Hashes of plans by algorithm plan/1. They must never change: a paper's episodes hang on them.
GOLDEN = {
    "omniglot": "4321745f57d75acd05424147855f8cd05baa4507b3805410128e65299723c8ee",
    "miniimagenet": "7b3d2fd6cef7858d59fc67f36f4b15529adaf1ca5e2066adc82be7f8495cb434",
    "uneven": "a94e9bfc00eb6b2e70eac29890224d9c2787114f7f87fd766a83c99eb48a76f0",
}
TRAIN = (("omniglot", "vinyals"), ("miniimagenet", "ravi-larochelle"), ("cub", "closerlook"))
GOLDEN_TRAIN = {
    "omniglot": "88d4cfdfd64e0c94db05fe986c2208a9c61d24bc33600bf6891adcfc039e2486",
    "miniimagenet": "4efe134c015b76e31b22745d99f997605cd73f684299e65cf4d014eefe6ce820",
    "cub": "300686aad0424996985d77a0e8dce7aa3b6273daee8055998df77f29a5b25887",
}
GOLDEN_IMBALANCED = "8f4ba9afcdad20b4ca3d7036717ba47d2fc5de31782ff700a14690892a558cce"


def class_table(sizes: np.ndarray) -> ClassTable:
    starts = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    return ClassTable(np.arange(len(sizes)), starts, sizes)


def train_table(name: str, scheme: str) -> ClassTable:
    """The train classes of a dataset as its store lays them out, from the manifest alone."""
    facts = manifest.load(name)
    every = class_table(np.array(facts.class_images))
    ids = np.array(facts.schemes[scheme].classes["train"])
    return ClassTable(ids, every.starts[ids], every.sizes[ids])


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
    words = [counter >> 64 * index & MASK for index in range(4)]
    k0, k1 = key & MASK, key >> 64
    for _ in range(10):
        low = 0xD2E7470EE14C6C93 * words[0], 0xCA5A826395121157 * words[2]
        words = [
            low[1] >> 64 ^ words[1] ^ k0,
            low[1] & MASK,
            low[0] >> 64 ^ words[3] ^ k1,
            low[0] & MASK,
        ]
        k0, k1 = (k0 + 0x9E3779B97F4A7C15) & MASK, (k1 + 0xBB67AE8584CAA73B) & MASK
    return words


def fisher_yates(words: list[int], size: int) -> list[int]:
    deck = list(range(size))
    for step, word in enumerate(words):
        other = step + (word * (size - step) >> 64)
        deck[step], deck[other] = deck[other], deck[step]
    return deck[: len(words)]


def each_class(counts: int | tuple[int, ...], way: int) -> list[int]:
    return [counts] * way if isinstance(counts, int) else list(counts)


def plan_by_hand(
    tables: list[ClassTable], spec: EpisodeSpec, key: int, index: int
) -> tuple[int, list[int], list[int], list[int]]:
    """Source, classes, support and query rows of one plan."""
    shots, queries = each_class(spec.shot, spec.way), each_class(spec.query, spec.way)
    per_class = max(shot + query for shot, query in zip(shots, queries, strict=True))
    blocks = -(-(1 + spec.way + spec.way * per_class) // 4)
    # NumPy's Philox steps its counter before each block.
    words = [
        word for block in range(blocks) for word in philox4x64_10(key, index * blocks + block + 1)
    ]
    source = words[0] * len(tables) >> 64
    table = tables[source]
    positions = fisher_yates(words[1 : 1 + spec.way], len(table.class_ids))
    support, query = [], []
    for label, position in enumerate(positions):
        first = 1 + spec.way + label * per_class
        drawn = fisher_yates(words[first : first + per_class], int(table.sizes[position]))
        rows = [int(table.starts[position]) + row for row in drawn]
        support += rows[: shots[label]]
        query += rows[shots[label] : shots[label] + queries[label]]
    return source, [int(table.class_ids[position]) for position in positions], support, query


def batch_by_hand(
    tables: list[ClassTable], spec: EpisodeSpec, key: int, indices: range
) -> PlanBatch:
    plans = [plan_by_hand(tables, spec, key, index) for index in indices]
    return PlanBatch(indices.start, *(np.array(part) for part in zip(*plans, strict=True)))


def plan_hash(*batches: PlanBatch) -> str:
    """The hash of each batch's four arrays as little-endian int64, then the hash of these."""
    hashes = []
    for plans in batches:
        digest = hashlib.sha256()
        for name in ("source", "class_ids", "support_rows", "query_rows"):
            digest.update(getattr(plans, name).astype("<i8").tobytes())
        hashes.append(digest.hexdigest())
    return hashlib.sha256("".join(hashes).encode()).hexdigest()


@pytest.mark.parametrize("name", list(GOLDEN))
def test_plans_never_change(name: str) -> None:
    spec = EpisodeSpec(5, 1, 15)
    key = plan_key(1, "scheme.test", spec.canonical())
    tables = [table_of(name)]
    near = uniform_plans(tables, spec, key, 0, 600)
    far = uniform_plans(tables, spec, key, FAR, 600)
    assert plan_hash(near, far) == GOLDEN[name]


@pytest.mark.parametrize(("name", "scheme"), TRAIN)
def test_plans_of_real_train_splits_never_change(name: str, scheme: str) -> None:
    spec = EpisodeSpec(5, 5, 15)
    key = plan_key(1, f"{scheme}.train", spec.canonical())
    tables = [train_table(name, scheme)]
    by_hand = [batch_by_hand(tables, spec, key, range(at, at + 200)) for at in (0, FAR)]
    assert plan_hash(*by_hand) == GOLDEN_TRAIN[name]
    found = [uniform_plans(tables, spec, key, at, 200) for at in (0, FAR)]
    assert plan_hash(*found) == GOLDEN_TRAIN[name]


def test_imbalanced_plans_over_several_tables_never_change() -> None:
    spec = EpisodeSpec(5, (1, 2, 3, 5, 8), (4, 1, 1, 6, 2))
    key = plan_key(1, "train", spec.canonical())
    tables = [train_table(name, scheme) for name, scheme in TRAIN]
    by_hand = [batch_by_hand(tables, spec, key, range(at, at + 200)) for at in (0, FAR)]
    assert plan_hash(*by_hand) == GOLDEN_IMBALANCED
    found = [uniform_plans(tables, spec, key, at, 200) for at in (0, FAR)]
    assert plan_hash(*found) == GOLDEN_IMBALANCED


# 2**62 * blocks needs more than 64 bits; 2**66 is beyond what a stream asks for.
@pytest.mark.parametrize("index", [0, 1, 12345, 10**12, 2**62, 2**63 - 3, 2**66 + 1])
@pytest.mark.parametrize("shot", [2, (1, 4, 2, 1, 3)])
def test_a_plan_equals_the_one_made_by_hand(index: int, shot: int | tuple[int, ...]) -> None:
    spec = EpisodeSpec(5, shot, 7)
    tables = [table_of(name) for name in ("omniglot", "miniimagenet", "uneven")]
    key = plan_key(3, "vinyals.test", spec.canonical())
    for step in (1, 3, 10**9):
        expected = batch_by_hand(tables, spec, key, range(index, index + 3 * step, step))
        assert plan_hash(uniform_plans(tables, spec, key, index, 3, step)) == plan_hash(expected)


def test_a_numpy_index_does_not_overflow() -> None:
    spec, tables = EpisodeSpec(5, 5, 15), [table_of("miniimagenet")]
    found = uniform_plans(tables, spec, 9, np.int64(2**62), 1)
    assert plan_hash(found) == plan_hash(uniform_plans(tables, spec, 9, 2**62, 1))
