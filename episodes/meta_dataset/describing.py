"""What Meta-Dataset's code is told of a store: its classes by their ids there, and their levels."""

import re
from collections.abc import Mapping, Sequence
from itertools import groupby

from episodes import manifest
from episodes.errors import UsageError, unknown_name
from episodes.manifest import PARTS, Manifest
from episodes.manifest.meta_dataset import SCHEME
from episodes.meta_dataset.conversion import converted_name
from episodes.meta_dataset.specification import (
    BiLevelDatasetSpecification,
    DatasetSpecification,
    HierarchicalDatasetSpecification,
    Synset,
)
from episodes.recipe import NO_CROP
from episodes.sampling.class_graph import Graph, graph_file, read_graphs
from episodes.store import Store
from episodes.store.layout import RECORDS


def shipped_facts(store: Store) -> Manifest | None:
    """The shipped manifest of the store's dataset, None where there is none."""
    dataset = store.info.dataset
    return manifest.load(dataset) if dataset in manifest.names() else None


def usual_scheme(store: Store) -> str:
    """The split scheme of Meta-Dataset where the store has it, else its default."""
    facts = shipped_facts(store)
    is_source = facts is not None and facts.meta_dataset is not None
    return SCHEME if is_source and SCHEME in store.info.splits else store.default_scheme


def specification_of(
    store: Store, scheme: str | None = None
) -> tuple[DatasetSpecification, list[int]]:
    """The specification of `store` split by `scheme`, and the store's class of each class id.

    `scheme` is `usual_scheme` by default. The ids are Meta-Dataset's own in its scheme, else in
    class order inside train, val and test. Classes are of two levels, or of a graph, where theirs
    are. Raises UsageError for an unknown scheme, and where classes of a graph are not there.
    """
    scheme = scheme or usual_scheme(store)
    if scheme not in store.info.splits:
        raise unknown_name(f"split scheme of {store.name}", scheme, store.info.splits)
    facts = None if store.info.preprocessing.get("rotations") else shipped_facts(store)
    parts = [sorted(store.info.splits[scheme][part]) for part in PARTS]
    if facts is not None and facts.meta_dataset is not None and scheme == SCHEME:
        order = facts.meta_dataset.class_order
        place = {facts.class_names[index]: number for number, index in enumerate(order)}
        for classes in parts:
            classes.sort(key=lambda index: place[store.class_names[index]])
    ids = [index for classes in parts for index in classes]
    names = [store.class_names[index] for index in ids]
    flat = DatasetSpecification(
        _converted_dataset(store, scheme),
        {part: len(classes) for part, classes in zip(PARTS, parts, strict=True)},
        tuple(store.info.class_sizes[index] for index in ids),
        tuple(names if facts is None else [converted_name(each, facts) for each in names]),
    )
    if facts is None:
        return flat, ids
    if path := graph_file(facts.name, scheme):
        return _hierarchical(flat, read_graphs(path), store), ids
    if facts.meta_dataset is not None and facts.meta_dataset.levels is not None:
        return _bi_level(flat, names, facts.meta_dataset.levels), ids
    return flat, ids


def departures(store: Store) -> list[str]:
    """In what the store's images are not as Meta-Dataset converts them, a line each."""
    facts = shipped_facts(store)
    recipe, lines = store.info.preprocessing, list(store.info.marks)
    known = facts.meta_dataset if facts is not None else None
    if known is not None and store.info.source != RECORDS:
        if known.crop != NO_CROP and recipe.get("crop", NO_CROP) != known.crop:
            lines.append(f"not cut to the {known.crop}: prepare it with --crop {known.crop}")
        if known.drop_twins and recipe.get("twins") != "dropped":
            lines.append("with the images that it leaves out: prepare it with --drop-twins")
    if store.is_view or not store.info.keeps_originals:
        height, width, _ = store.image_shape
        lines.append(f"resized to {height}x{width} and encoded again: keep --encoding original")
    return lines


def _converted_dataset(store: Store, scheme: str) -> str:
    """What Meta-Dataset calls the dataset, and its later scheme: ilsvrc_2012_v2."""
    facts = shipped_facts(store)
    if facts is None or facts.meta_dataset is None:
        return store.info.dataset
    later = scheme.removeprefix(SCHEME) if scheme.startswith(SCHEME) else ""
    return facts.meta_dataset.name + later.replace("-", "_")


def _bi_level(
    flat: DatasetSpecification, names: Sequence[str], levels: str
) -> BiLevelDatasetSpecification:
    superclasses: list[str] = []
    sizes: list[int] = []
    per_split = {}
    for part in PARTS:
        of_part = [re.sub(levels, r"\1", names[class_id]) for class_id in flat.class_ids(part)]
        runs = [(name, len(list(run))) for name, run in groupby(of_part)]
        superclasses += [name for name, _ in runs]
        sizes += [size for _, size in runs]
        per_split[part] = len(runs)
    return BiLevelDatasetSpecification(
        flat.name,
        flat.classes_per_split,
        flat.images_per_class,
        flat.class_names,
        per_split,
        tuple(sizes),
        tuple(superclasses),
    )


def _hierarchical(
    flat: DatasetSpecification, graphs: Mapping[str, Graph], store: Store
) -> HierarchicalDatasetSpecification:
    try:
        return HierarchicalDatasetSpecification(
            flat.name,
            flat.classes_per_split,
            flat.images_per_class,
            flat.class_names,
            {part: _synsets(graphs.get(part, {})) for part in PARTS},
        )
    except ValueError as error:
        raise UsageError(f"{store.name} is not all that its class graph is of: {error}") from None


def _synsets(graph: Graph) -> tuple[Synset, ...]:
    parents: dict[str, list[str]] = {name: [] for name in graph}
    for name in sorted(graph):
        for child in graph[name].children:
            parents[child].append(name)
    return tuple(
        Synset(name, graph[name].words, tuple(sorted(graph[name].children)), tuple(parents[name]))
        for name in sorted(graph)
    )
