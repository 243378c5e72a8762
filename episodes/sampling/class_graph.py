"""Graphs of classes: which classes a node of WordNet spans."""

import gzip
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from episodes import manifest
from episodes.errors import EpisodesError

HEADER = "part\tnode\tchildren\twords"

Graph = Mapping[str, "Node"]


@dataclass(frozen=True)
class Node:
    """A node: the nodes right below it (none: it is a class), and its words in WordNet."""

    children: tuple[str, ...]
    words: str


def graph_file(dataset: str, scheme: str) -> Path | None:
    """The file of the graphs that a split scheme of `dataset` is made of; None if there is none."""
    path = manifest.folder() / f"{dataset}.{scheme}.graph.tsv.gz"
    return path if path.is_file() else None


def read_graphs(path: Path) -> dict[str, Graph]:
    """The graph of each part of a split, a row of the file a node.

    Raises EpisodesError for a file that is none, and for a child that is no node.
    """
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            header, *rows = file.read().splitlines() or [""]
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise EpisodesError(f"{path.name}: not a gzipped table ({error})") from None
    if header != HEADER:
        raise EpisodesError(f"{path.name}: line 1 is {header!r}; expected {HEADER!r}")
    graphs: dict[str, dict[str, Node]] = {}
    for number, row in enumerate(rows, start=2):
        cells = row.split("\t")
        if len(cells) != 4:
            raise EpisodesError(f"{path.name}: line {number} has {len(cells)} cells; expected 4")
        part, name, children, words = cells
        graphs.setdefault(part, {})[name] = Node(tuple(children.split()), words)
    for part, graph in graphs.items():
        for name, node in graph.items():
            if absent := [child for child in node.children if child not in graph]:
                raise EpisodesError(f"{path.name}: {absent[0]}, below {name}, is no node of {part}")
    return dict(graphs)


def spanned(graph: Graph, classes: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """For each inner node in order of name, the positions in `classes` of the leaves below it.

    A leaf below a node on several paths counts once; leaves that are not in `classes` are left out.
    """
    position = {name: index for index, name in enumerate(classes)}
    leaves: dict[str, frozenset[int]] = {}

    def below(name: str) -> frozenset[int]:
        if name not in leaves:
            children = graph[name].children
            own = (position[name],) if not children and name in position else ()
            leaves[name] = frozenset(own).union(*map(below, children))
        return leaves[name]

    return {name: tuple(sorted(below(name))) for name in sorted(graph) if graph[name].children}
