"""Pools: the sets of classes, one of which an episode takes all its classes from."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from episodes.errors import UsageError, unknown_name
from episodes.manifest import Manifest
from episodes.sampling.class_graph import Graph, graph_file, read_graphs, spanned

LEAST_LEAVES = 5
MOST_LEAVES = 392  # the least bound with which every class of ILSVRC-2012's train split is reached


@dataclass(frozen=True)
class Pools:
    """The pools of a source: each equally likely, each the positions of its classes in a table.

    Where `draws_way` holds, an episode draws how many of the pool's classes it has; else it has all
    of them, or the most that the spec allows.
    """

    classes: tuple[tuple[int, ...], ...]
    draws_way: bool = True

    def __post_init__(self) -> None:
        if not any(self.classes):
            raise UsageError("pools without a class; expected one pool of classes at least")


def flat_pools(classes: int) -> Pools:
    """One pool of all classes."""
    return Pools((tuple(range(classes)),))


def bilevel_pools(superclasses: Sequence[str]) -> Pools:
    """A pool for each superclass, in order of name; `superclasses` has one name a class.

    Source: Meta-Dataset's Omniglot, whose superclasses are alphabets.
    """
    members: dict[str, list[int]] = {}
    for position, name in enumerate(superclasses):
        members.setdefault(name, []).append(position)
    return Pools(tuple(tuple(members[name]) for name in sorted(members)))


def graph_pools(
    graph: Graph, classes: Sequence[str], least: int = LEAST_LEAVES, most: int = MOST_LEAVES
) -> Pools:
    """A pool for each inner node of `graph` that spans `least` to `most` classes, in order of name.

    `classes` has the names of the classes, in the table's order. Raises UsageError for one that is
    no leaf of the graph, and where no node spans so many. Source: Meta-Dataset's ILSVRC-2012.
    """
    leaves = {name for name, node in graph.items() if not node.children}
    if strangers := [name for name in classes if name not in leaves]:
        raise UsageError(
            f"the class {strangers[0]!r} is no leaf of the graph of {len(leaves)} classes; take "
            "the classes of the part that the graph is of, or pools that are flat"
        )
    spans = spanned(graph, classes).values()
    eligible = tuple(span for span in spans if least <= len(span) <= most)
    if not eligible:
        raise UsageError(
            f"no node spans {least} to {most} of the {len(classes)} classes; take pools that are "
            "flat"
        )
    return Pools(eligible, draws_way=False)


def pools_of(facts: Manifest, scheme: str, part: str, class_names: Sequence[str]) -> Pools:
    """The pools in which Meta-Dataset samples the classes of `part` of a split scheme.

    `class_names` are those of the table that is sampled from. A dataset whose split was cut from a
    graph has the graph's pools, one whose classes are of two levels a pool for each superclass, any
    other one pool. Raises UsageError for a part, or a class, that the graph has not.
    """
    if path := graph_file(facts.name, scheme):
        graphs = read_graphs(path)
        if part not in graphs:
            raise unknown_name(f"part of {path.name}", part, graphs)
        return graph_pools(graphs[part], class_names)
    if facts.meta_dataset is not None and (levels := facts.meta_dataset.levels) is not None:
        return bilevel_pools([re.sub(levels, r"\1", name) for name in class_names])
    return flat_pools(len(class_names))
