"""Variable plans in plain Python, and the plans that must never change, computed with it."""

import hashlib
import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest

from episodes import manifest
from episodes.sampling import ClassTable, EpisodePlan
from episodes.sampling.pooled_classes import pooled_classes
from episodes.sampling.pools import Pools, bilevel_pools, flat_pools, pools_of
from episodes.sampling.rng import plan_key
from episodes.sampling.variable import VariablePlans, variable_plans
from episodes.sampling.variable_spec import VariableSpec
from tests.episodes.test_sampling_by_hand import FAR, class_table, philox4x64_10

SCHEME = "meta-dataset"
Source = tuple[ClassTable, Pools]

# Hashes of plans. They must never change: a paper's episodes hang on them.
GOLDEN = {
    "graph": "c4e76eb169c8dbfeaccbf3726424604712fa30a0e7dd47a8fe586ce2e31942c6",
    "two levels": "10aaa07c46bfb516732335d1c87f9275d1a9ea5ef68bd192654f5361f2f6cd24",
    "flat": "22d8cb76255de2c70aa4b73ec858bd7f81440c54aafefd8558fba34a92840543",
    "huge classes": "8288f227883b10e6459bedbbcb8e13fd49f87947fc86d4140ef9a9da30007fe4",
    "mixed": "258e82b28231914dbee2121152851fd308a095d70fb9955ab736ae80b65be977",
    "batches": "f33f27516d7f82044255e8604aff3451ec4f9ea0f16828ac5c115d412a708276",
    "fixed": "fb34ae769b08197c1f9ad786c17edd3a84c8a3eb01f840467a72030b2fcfcd30",
    "range": "65d1c25f0dc2c9c3925b866188ec3022dfa6a8e23012186db0bbd1e9ec45485a",
}


def real_pools(dataset: str, part: str, scheme: str = SCHEME) -> Pools:
    facts = manifest.load(dataset)
    names = [facts.class_names[index] for index in facts.schemes[scheme].classes[part]]
    return pools_of(facts, scheme, part, names)


def setting(name: str) -> tuple[list[Source], VariableSpec]:
    small = class_table(np.array([4 + 3 * index for index in range(30)]))
    pairs = class_table(np.full(24, 9)), bilevel_pools(["b", "a", "c"] * 8)
    graph = class_table(np.array([732 + 4 * index for index in range(130)]))
    nodes = (graph, real_pools("imagenet", "test"))
    alphabets = (class_table(np.full(81, 20)), real_pools("omniglot", "val"))
    flat = (small, flat_pools(30))
    return {
        "graph": ([nodes], VariableSpec()),
        "two levels": ([alphabets], VariableSpec()),
        "flat": ([flat], VariableSpec(min_examples_in_class=10)),
        "huge classes": ([(class_table(np.full(9, 340_029)), flat_pools(9))], VariableSpec()),
        "mixed": (
            [nodes, pairs, flat],
            VariableSpec(ignore_hierarchy_probability=0.4, source_weights=(1, 2.5, 0.75)),
        ),
        "batches": ([pairs, flat], VariableSpec(source_batch=4)),
        "fixed": ([nodes], VariableSpec(way=5, shot=5, query=15)),
        "range": ([pairs], VariableSpec(way=6, shot=(1, 4), max_num_query=7)),
    }[name]


class Words:
    """The random words of an episode, a block of four at a time when one of them is asked for."""

    def __init__(self, key: int, index: int, words: int) -> None:
        self.key, self.first, self.blocks = key, index * -(-words // 4), {}

    def __getitem__(self, place: int) -> int:
        block = place // 4
        if block not in self.blocks:
            # NumPy's Philox steps its counter before each block.
            self.blocks[block] = philox4x64_10(self.key, self.first + block + 1)
        return self.blocks[block][place % 4]


def fisher_yates(words: Words, first: int, count: int, size: int) -> list[int]:
    """As in tests/episodes/test_sampling_by_hand.py, but for the cards that stay in their place."""
    deck: dict[int, int] = {}
    for step in range(count):
        other = step + (words[first + step] * (size - step) >> 64)
        deck[step], deck[other] = deck.get(other, other), deck.get(step, step)
    return [deck[step] for step in range(count)]


def drawn_source(word: int, weights: Sequence[float]) -> int:
    exact = list(map(Fraction, weights))
    share = Fraction(word, 2**64) * sum(exact)
    return next(source for source in range(len(exact)) if share < sum(exact[: source + 1]))


def plan_by_hand(sources: list[Source], spec: VariableSpec, key: int, index: int) -> EpisodePlan:
    most_ways = spec.way or spec.max_ways_upper_bound
    shots = (spec.shot, spec.shot) if isinstance(spec.shot, int) else spec.shot
    support = most_ways * shots[1] if shots else spec.max_support_set_size
    rows = support + most_ways * (spec.query or spec.max_num_query)
    budget = 5 + 2 * most_ways + rows
    words = Words(key, index, budget)

    leader = index - index % (spec.source_batch or 1)
    weights = spec.source_weights or [1] * len(sources)
    source = drawn_source(Words(key, leader, budget)[0], weights)
    table, pools = sources[source]
    large = [at for at, size in enumerate(table.sizes) if size >= spec.min_examples_in_class]
    members = [[at for at in pool if at in large] for pool in pools.classes]
    pool, draws_way = members[words[2] * len(members) >> 64], pools.draws_way
    if Fraction(words[1], 2**64) < spec.ignore_hierarchy_probability:
        pool, draws_way = large, True

    most = min(len(pool), most_ways)
    least = min(len(pool), spec.min_ways) if draws_way else most
    way = spec.way or least + (words[3] * (most - least + 1) >> 64)
    classes = [pool[at] for at in fisher_yates(words, 5, way, len(pool))]
    sizes = [int(table.sizes[at]) for at in classes]

    if spec.query:
        query = spec.query
    elif shots:
        query = min(spec.max_num_query, min(sizes) - shots[1])
    else:
        query = min(spec.max_num_query, min(sizes) // 2)
    if shots:
        counts = [shots[0] + (words[4] * (shots[1] - shots[0] + 1) >> 64)] * way
    else:
        each = spec.max_support_size_contrib_per_class
        total = sum((words[4] * min(each, size - query) >> 64) + 1 for size in sizes)
        total = min(spec.max_support_set_size, total)
        span = spec.max_log_weight - spec.min_log_weight
        weighed = [
            size * math.floor(2**20 * math.exp(-span * (words[5 + most_ways + at] / 2**64)))
            for at, size in enumerate(sizes)
        ]
        counts = [
            min(weight * (total - way) // sum(weighed) + 1, size - query)
            for weight, size in zip(weighed, sizes, strict=True)
        ]
    at, support_rows, query_rows = 5 + 2 * most_ways, [], []
    for position, count in zip(classes, counts, strict=True):
        places = fisher_yates(words, at, count + query, int(table.sizes[position]))
        drawn = [int(table.starts[position]) + place for place in places]
        support_rows += drawn[:count]
        query_rows += drawn[count:]
        at += count + query
    return EpisodePlan(
        index=index,
        source=source,
        class_ids=table.class_ids[classes],
        support_rows=np.array(support_rows),
        support_labels=np.repeat(np.arange(way), counts),
        query_rows=np.array(query_rows),
        query_labels=np.repeat(np.arange(way), query),
    )


def plan_hash(plans: Sequence[EpisodePlan]) -> str:
    """The hash of the plans' arrays, each behind its length, as little-endian int64."""
    digest = hashlib.sha256()
    for plan in plans:
        digest.update(np.array([plan.index, plan.source], "<i8").tobytes())
        for name in ("class_ids", "support_rows", "support_labels", "query_rows", "query_labels"):
            array = getattr(plan, name).astype("<i8")
            digest.update(len(array).to_bytes(8, "little") + array.tobytes())
    return digest.hexdigest()


def plans_of(
    sources: list[Source], spec: VariableSpec, key: int, start: int, count: int, step: int = 1
) -> VariablePlans:
    classes = pooled_classes(*map(list, zip(*sources, strict=True)), spec)
    return variable_plans(classes, spec, key, start, count, step)


@pytest.mark.parametrize("name", list(GOLDEN))
def test_plans_never_change(name: str) -> None:
    sources, spec = setting(name)
    key = plan_key(1, "meta-dataset.test", spec.canonical())
    found = [plan for at in (0, FAR) for plan in plans_of(sources, spec, key, at, 100)]
    assert plan_hash(found) == GOLDEN[name]


@pytest.mark.parametrize("name", list(GOLDEN))
def test_a_plan_equals_the_one_made_by_hand(name: str) -> None:
    sources, spec = setting(name)
    key = plan_key(3, "meta-dataset.test", spec.canonical())
    for start, step in ((0, 1), (FAR + 3, 3), (2**63 - 2 * 10**9 - 2, 10**9)):
        expected = [plan_by_hand(sources, spec, key, start + step * place) for place in range(3)]
        found = plans_of(sources, spec, key, start, 3, step)
        assert plan_hash(list(found)) == plan_hash(expected)
