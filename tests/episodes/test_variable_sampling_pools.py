"""Pools of classes, and the graphs of ILSVRC-2012 that Meta-Dataset's classes are drawn from."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from episodes import manifest
from episodes.errors import EpisodesError, UsageError
from episodes.sampling import ClassTable
from episodes.sampling.class_graph import Graph, Node, graph_file, read_graphs, spanned
from episodes.sampling.pooled_classes import pooled_classes
from episodes.sampling.pools import Pools, bilevel_pools, flat_pools, graph_pools, pools_of
from episodes.sampling.variable_spec import VariableSpec
from tests.episodes.test_sampling_by_hand import class_table
from tests.episodes.test_variable_sampling_by_hand import real_pools

# Nodes, leaves, inner nodes, eligible ones, those with more than 50 leaves, mean way, root.
FACTS = {
    ("meta-dataset", "train"): (1011, 712, 299, 113, 16, 18.96, "entity"),
    ("meta-dataset", "val"): (200, 158, 42, 18, 4, 20.39, "carnivore"),
    ("meta-dataset", "test"): (180, 130, 50, 15, 1, 14.80, "device"),
    ("meta-dataset-v2", "train"): (1399, 1000, 399, 145, 19, 18.33, "entity"),
}
UNREACHED = {("meta-dataset-v2", "train"): 6}

# The leaves d, e, f; e is below a by two ways.
DIAMOND = {
    "a": Node(("b", "c"), "top"),
    "b": Node(("d", "e"), ""),
    "c": Node(("e", "f"), ""),
    "d": Node((), ""),
    "e": Node((), ""),
    "f": Node((), ""),
}


def shipped(scheme: str) -> dict[str, Graph]:
    path = graph_file("imagenet", scheme)
    assert path is not None
    return read_graphs(path)


def leaves_below(graph: Graph, name: str) -> set[str]:
    found, to_visit = set(), [name]
    while to_visit:
        node = to_visit.pop()
        found |= {node} if not graph[node].children else set()
        to_visit += graph[node].children
    return found


@pytest.mark.parametrize(("scheme", "part"), list(FACTS))
def test_the_graphs_are_those_of_meta_dataset(scheme: str, part: str) -> None:
    nodes, leaves, inner, eligible, large, way, root = FACTS[scheme, part]
    graph = shipped(scheme)[part]
    facts = manifest.load("imagenet")
    classes = {facts.class_names[index] for index in facts.schemes[scheme].classes[part]}
    assert {name for name, node in graph.items() if not node.children} == classes
    assert (len(graph), len(classes), len(graph) - len(classes)) == (nodes, leaves, inner)
    children = {child for node in graph.values() for child in node.children}
    (top,) = set(graph) - children
    assert graph[top].words.split(",")[0] == root

    pools = real_pools("imagenet", part, scheme)
    sizes = [len(pool) for pool in pools.classes]
    assert (len(sizes), sum(size > 50 for size in sizes)) == (eligible, large)
    assert (min(sizes) >= 5, max(sizes) <= 392, pools.draws_way) == (True, True, False)
    assert np.mean(np.minimum(sizes, 50)) == pytest.approx(way, abs=0.005)
    reached = set().union(*pools.classes)
    assert len(reached) == leaves - UNREACHED.get((scheme, part), 0)


def test_pools_of_the_graph_are_the_leaves_below_a_node_in_order_of_name() -> None:
    graph = shipped("meta-dataset")["train"]
    facts = manifest.load("imagenet")
    names = [facts.class_names[index] for index in facts.schemes["meta-dataset"].classes["train"]]
    spans = [leaves_below(graph, name) for name in sorted(graph) if graph[name].children]
    expected = [span for span in spans if 5 <= len(span) <= 392]
    found = real_pools("imagenet", "train").classes
    assert [{names[at] for at in pool} for pool in found] == expected
    assert all(list(pool) == sorted(set(pool)) for pool in found)


def test_a_leaf_on_two_paths_counts_once_and_absent_leaves_do_not() -> None:
    assert spanned(DIAMOND, "fed") == {"a": (0, 1, 2), "b": (1, 2), "c": (0, 1)}
    assert spanned(DIAMOND, "df") == {"a": (0, 1), "b": (0,), "c": (1,)}
    assert graph_pools(DIAMOND, "def", 2, 2).classes == ((0, 1), (1, 2))
    with pytest.raises(UsageError, match="no node spans 4 to 5 of the 3 classes"):
        graph_pools(DIAMOND, "def", 4, 5)
    with pytest.raises(UsageError, match="class 'b' is no leaf of the graph of 3 classes"):
        graph_pools(DIAMOND, "bde", 2, 5)


def test_the_pools_of_omniglot_are_its_alphabets() -> None:
    facts = manifest.load("omniglot")
    for part, alphabets in (("train", 25), ("val", 5), ("test", 20)):
        ids = facts.schemes["meta-dataset"].classes[part]
        pools = real_pools("omniglot", part)
        assert (len(pools.classes), pools.draws_way) == (alphabets, True)
        assert sorted(sum(pools.classes, ())) == list(range(len(ids)))
        named = [
            {facts.class_names[ids[at]].split("/")[1] for at in pool} for pool in pools.classes
        ]
        assert all(len(names) == 1 for names in named)
        assert sorted(named, key=min) == named


def test_other_datasets_have_one_pool() -> None:
    assert real_pools("aircraft", "val") == Pools((tuple(range(15)),))
    assert bilevel_pools("bab").classes == ((1,), (0, 2))
    with pytest.raises(UsageError, match="pools without a class"):
        flat_pools(0)


def test_a_part_that_the_graph_has_not_is_named() -> None:
    message = "unknown part of imagenet.meta-dataset-v2.graph.tsv.gz 'test'"
    with pytest.raises(UsageError, match=message):
        pools_of(manifest.load("imagenet"), "meta-dataset-v2", "test", ["n01440764"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"part\tnode\n", "line 1 is 'part.tnode'; expected"),
        (b"part\tnode\tchildren\twords\ntrain\ta\n", "line 2 has 2 cells; expected 4"),
        (b"part\tnode\tchildren\twords\nval\ta\tb c\tx\nval\tb\t\ty\n", "c, below a, is no node"),
        (None, "graph.tsv.gz: not a gzipped table"),
    ],
)
def test_a_damaged_graph_is_named(text: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "graph.tsv.gz"
    path.write_bytes(b"plain" if text is None else gzip.compress(text))
    with pytest.raises(EpisodesError, match=message):
        read_graphs(path)


SMALL = class_table(np.array([1, 4, 9, 9, 30]))
TWO = Pools(((0, 1, 2), (3, 4)))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "class 0 of source 0 has 1 images; the spec needs 2: .* min_examples_in_class=2"),
        ({"shot": 3, "query": 2, "min_examples_in_class": 3}, "class 1 .* the spec needs 5"),
        ({"shot": (1, 4), "min_examples_in_class": 3}, "class 1 .* 4 images; the spec needs 5"),
        ({"way": 3, "min_examples_in_class": 2}, "a pool of source 0 has 2 classes; too few for"),
        ({"min_examples_in_class": 31}, "source 0 has no pool of 2 classes with 31 images or more"),
        ({"source_weights": (1, 2)}, "source_weights has 2 numbers for 1 sources"),
    ],
)
def test_classes_that_cannot_be_drawn_are_refused(fields: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        pooled_classes([SMALL], [TWO], VariableSpec(**fields))


def test_tables_and_pools_go_in_pairs() -> None:
    for tables, pools in (([SMALL], []), ([], [])):
        with pytest.raises(UsageError, match="class tables with 0 pools; expected one each"):
            pooled_classes(tables, pools, VariableSpec())


def test_small_classes_and_what_is_left_of_their_pools_are_left_out() -> None:
    ids = np.array([50, 40, 30, 20, 10])
    table = ClassTable(ids, SMALL.starts, SMALL.sizes)
    found = pooled_classes([table, table], [TWO, TWO], VariableSpec(min_examples_in_class=9))
    # Class 30 is alone in its pool, but with the others where the hierarchy is ignored.
    assert found.class_ids.tolist() == [20, 10, 30, 20, 10] * 2
    assert found.sizes.tolist() == [9, 30, 9, 9, 30] * 2
    assert found.starts.tolist() == [14, 23, 5, 14, 23] * 2
    assert (found.first.tolist(), found.counts.tolist()) == ([0, 2, 5, 7], [2, 3, 2, 3])
    assert (found.first_pool.tolist(), found.pool_counts.tolist()) == ([0, 2], [1, 1])
    assert found.flat_pool.tolist() == [1, 3]
