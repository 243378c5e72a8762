"""What Meta-Dataset's code knows of a converted dataset, as plain values under its own names.

Class ids count from 0 through train, val and test. Parts are named as in this package; the files
call them TRAIN, VALID and TEST.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from episodes.manifest import PARTS

FILE_PATTERN = "{}.tfrecords"


@dataclass(frozen=True)
class DatasetSpecification:
    """A dataset of flat classes.

    `class_names` and `images_per_class` are by class id, `classes_per_split` by part. Raises
    ValueError where they contradict each other.
    """

    name: str
    classes_per_split: Mapping[str, int]
    images_per_class: tuple[int, ...]
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        check_counts("classes_per_split", self.classes_per_split, len(self.class_names))
        if len(self.images_per_class) != len(self.class_names):
            raise ValueError(
                f"images_per_class has {len(self.images_per_class)} classes, "
                f"class_names {len(self.class_names)}"
            )
        if min(self.images_per_class, default=0) < 0:
            raise ValueError("images_per_class has a number under 0")
        if len(set(self.class_names)) != len(self.class_names):
            raise ValueError("class_names has a name twice")

    def class_ids(self, part: str) -> range:
        """The class ids of train, val or test."""
        return run_of(self.classes_per_split, part)


@dataclass(frozen=True)
class BiLevelDatasetSpecification(DatasetSpecification):
    """A dataset whose classes are of superclasses, as Omniglot's characters are of alphabets.

    Superclass ids count as class ids do; the classes of a superclass are neighbours.
    """

    superclasses_per_split: Mapping[str, int]
    classes_per_superclass: tuple[int, ...]
    superclass_names: tuple[str, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts("superclasses_per_split", self.superclasses_per_split, len(self.superclasses))
        if len(self.superclass_names) != len(self.superclasses):
            raise ValueError("superclass_names and classes_per_superclass differ in number")
        if self.classes_per_split != self.classes_in(
            self.superclasses_per_split, self.classes_per_superclass
        ):
            raise ValueError("the classes of the superclasses are not those of the splits")

    @property
    def superclasses(self) -> range:
        """The superclass ids."""
        return range(len(self.classes_per_superclass))

    @staticmethod
    def classes_in(
        superclasses_per_split: Mapping[str, int], classes_per_superclass: Sequence[int]
    ) -> dict[str, int]:
        """The number of classes of each part."""
        return {
            part: sum(classes_per_superclass[i] for i in run_of(superclasses_per_split, part))
            for part in PARTS
        }


@dataclass(frozen=True)
class Synset:
    """A node of a class graph: its WordNet id, its words, and the ids under and over it, sorted."""

    wn_id: str
    words: str
    children_ids: tuple[str, ...]
    parents_ids: tuple[str, ...]


@dataclass(frozen=True)
class HierarchicalDatasetSpecification(DatasetSpecification):
    """A dataset whose classes are the leaves of a graph a part, as ILSVRC-2012's are of WordNet's.

    `split_subgraphs` has the nodes of each part's graph; a class's name is its leaf's WordNet id.
    """

    split_subgraphs: Mapping[str, tuple[Synset, ...]]

    def __post_init__(self) -> None:
        super().__post_init__()
        for part in PARTS:
            graph = {node.wn_id: node for node in self.split_subgraphs[part]}
            if any(not graph.keys() >= {*n.children_ids, *n.parents_ids} for n in graph.values()):
                raise ValueError(f"the graph of {part} names nodes that it does not have")
            leaves = {node.wn_id for node in graph.values() if not node.children_ids}
            if leaves != {self.class_names[class_id] for class_id in self.class_ids(part)}:
                raise ValueError(f"the leaves of the graph of {part} are not its classes")

    def images_under_nodes(self, part: str) -> dict[str, int]:
        """The images of each node of a part's graph: of the distinct leaves that it leads to."""
        graph = {node.wn_id: node for node in self.split_subgraphs[part]}
        images = dict(zip(self.class_names, self.images_per_class, strict=True))
        leaves: dict[str, frozenset[str]] = {}

        def leaves_under(wn_id: str) -> frozenset[str]:
            if wn_id not in leaves:
                below = [leaves_under(child) for child in graph[wn_id].children_ids]
                leaves[wn_id] = frozenset().union(*below) if below else frozenset([wn_id])
            return leaves[wn_id]

        return {wn_id: sum(images[leaf] for leaf in leaves_under(wn_id)) for wn_id in sorted(graph)}


def run_of(counts: Mapping[str, int], part: str) -> range:
    """The ids of a part, which are counted through train, val and test."""
    first = sum(counts[before] for before in PARTS[: PARTS.index(part)])
    return range(first, first + counts[part])


def check_counts(name: str, counts: Mapping[str, int], total: int) -> None:
    """Raises ValueError unless `counts` are of train, val and test and sum up to `total`."""
    if set(counts) != set(PARTS) or min(counts.values()) < 0 or sum(counts.values()) != total:
        raise ValueError(f"{name} is {dict(counts)}; expected train, val and test, {total} in all")
