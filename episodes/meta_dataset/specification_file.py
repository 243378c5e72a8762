"""dataset_spec.json, as Meta-Dataset's code writes and reads it, of all three classes."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from episodes.errors import EpisodesError
from episodes.manifest import PARTS
from episodes.meta_dataset.specification import (
    FILE_PATTERN,
    BiLevelDatasetSpecification,
    DatasetSpecification,
    HierarchicalDatasetSpecification,
    Synset,
)

FILE_NAME = "dataset_spec.json"
PICKLE_NAME = "dataset_spec.pkl"
SPLITS = dict(zip(PARTS, ("TRAIN", "VALID", "TEST"), strict=True))


def is_conversion(folder: Path) -> bool:
    """Whether `folder` has the specification of a conversion, as JSON or in its older form."""
    return any((folder / name).is_file() for name in (FILE_NAME, PICKLE_NAME))


def read_specification(folder: Path) -> DatasetSpecification:
    """The specification in `folder`, of the class that it names.

    Raises EpisodesError where there is none, where it contradicts itself, and for several files or
    pools of images a class, which Meta-Dataset's own code does not read either.
    """
    path = folder / FILE_NAME
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise EpisodesError(_missing(folder)) from None
    except OSError as error:
        raise EpisodesError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, RecursionError):
        raise EpisodesError(f"{path} is not valid JSON: get the file again") from None
    try:
        return _parsed(values)
    except KeyError as error:
        raise EpisodesError(f"{path} has no {error}: get the file again") from None
    except (TypeError, AttributeError, ValueError, RecursionError) as error:
        raise EpisodesError(f"{path} is no dataset specification: {error}") from None


def write_specification(folder: Path, specification: DatasetSpecification) -> None:
    """Write `specification` as dataset_spec.json into `folder`."""
    values = _as_json(specification)
    (folder / FILE_NAME).write_text(json.dumps(values, indent=2), encoding="utf-8")


def _missing(folder: Path) -> str:
    if (folder / PICKLE_NAME).is_file():
        return (
            f"{folder} has {PICKLE_NAME} and no {FILE_NAME}: let Meta-Dataset's "
            "dataset_spec.load_dataset_spec(FOLDER, convert_from_pkl=True) write it"
        )
    return f"{folder} is no Meta-Dataset conversion: it has no {FILE_NAME}"


def _parsed(values: Mapping[str, Any]) -> DatasetSpecification:
    kind = values["__class__"]
    if values["file_pattern"] != FILE_PATTERN:
        raise ValueError(
            f"its file_pattern is {values['file_pattern']!r}; expected {FILE_PATTERN!r}, "
            "one file a class"
        )
    name, class_names = str(values["name"]), _by_id(values["class_names"], str)
    if kind == DatasetSpecification.__name__:
        return DatasetSpecification(
            name,
            _by_part(values["classes_per_split"]),
            _by_id(values["images_per_class"], int),
            class_names,
        )
    if kind == BiLevelDatasetSpecification.__name__:
        superclasses = _by_part(values["superclasses_per_split"])
        classes = _by_id(values["classes_per_superclass"], int)
        if sum(superclasses.values()) != len(classes):
            raise ValueError("superclasses_per_split and classes_per_superclass differ in number")
        return BiLevelDatasetSpecification(
            name,
            BiLevelDatasetSpecification.classes_in(superclasses, classes),
            _by_id(values["images_per_class"], int),
            class_names,
            superclasses,
            classes,
            _by_id(values["superclass_names"], str),
        )
    if kind == HierarchicalDatasetSpecification.__name__:
        graphs = {part: _graph(values["split_subgraphs"][SPLITS[part]]) for part in PARTS}
        images: dict[str, int] = {}
        classes_per_split = {}
        for part, graph in graphs.items():
            leaves = [node.wn_id for node in graph if not node.children_ids]
            counts = values["images_per_class"][SPLITS[part]]
            images |= {leaf: _of_type(counts[leaf], int) for leaf in leaves}
            classes_per_split[part] = len(leaves)
        return HierarchicalDatasetSpecification(
            name,
            classes_per_split,
            tuple(images[class_name] for class_name in class_names),
            class_names,
            graphs,
        )
    raise ValueError(
        f"its __class__ is {kind!r}; expected DatasetSpecification, BiLevelDatasetSpecification "
        "or HierarchicalDatasetSpecification"
    )


def _graph(nodes: list[Mapping[str, Any]]) -> tuple[Synset, ...]:
    return tuple(
        Synset(
            node["wn_id"], node["words"], tuple(node["children_ids"]), tuple(node["parents_ids"])
        )
        for node in nodes
    )


def _by_part(values: Mapping[str, Any]) -> dict[str, int]:
    return {part: _of_type(values[split], int) for part, split in SPLITS.items()}


def _by_id(values: Mapping[str, Any], kind: type) -> tuple[Any, ...]:
    """The values by their ids, which JSON makes strings, and which may come in any order."""
    by_id = {int(key): _of_type(value, kind) for key, value in values.items()}
    if sorted(by_id) != list(range(len(values))):
        raise ValueError(f"the ids of {len(values)} entries are not 0 to {len(values) - 1}")
    return tuple(by_id[index] for index in range(len(values)))


def _of_type(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise ValueError(f"{value!r} stands for {'a number' if kind is int else 'a name'}")
    return value


def _as_json(specification: DatasetSpecification) -> dict[str, Any]:
    """The values under the keys and in the order of Meta-Dataset's code."""
    values: dict[str, Any] = {"name": specification.name}
    images: Mapping[Any, Any] = dict(enumerate(specification.images_per_class))
    if isinstance(specification, HierarchicalDatasetSpecification):
        values["split_subgraphs"] = {
            SPLITS[part]: [_node_as_json(node) for node in specification.split_subgraphs[part]]
            for part in PARTS
        }
        images = {SPLITS[part]: specification.images_under_nodes(part) for part in PARTS}
    elif isinstance(specification, BiLevelDatasetSpecification):
        values["superclasses_per_split"] = _split_counts(specification.superclasses_per_split)
        values["classes_per_superclass"] = dict(enumerate(specification.classes_per_superclass))
    else:
        values["classes_per_split"] = _split_counts(specification.classes_per_split)
    values["images_per_class"] = images
    if isinstance(specification, BiLevelDatasetSpecification):
        values["superclass_names"] = dict(enumerate(specification.superclass_names))
    # Meta-Dataset's code puts the folder that it reads from in the place of `path`.
    return values | {
        "class_names": dict(enumerate(specification.class_names)),
        "path": "",
        "file_pattern": FILE_PATTERN,
        "__class__": type(specification).__name__,
    }


def _split_counts(counts: Mapping[str, int]) -> dict[str, int]:
    return {SPLITS[part]: counts[part] for part in PARTS}


def _node_as_json(node: Synset) -> dict[str, Any]:
    return {
        "wn_id": node.wn_id,
        "words": node.words,
        "children_ids": list(node.children_ids),
        "parents_ids": list(node.parents_ids),
    }
