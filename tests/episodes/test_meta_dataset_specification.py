"""dataset_spec.json of all three classes, as Meta-Dataset's code lays it out, read and written."""

import json
from pathlib import Path

import pytest

from episodes.errors import EpisodesError
from episodes.manifest import PARTS
from episodes.meta_dataset import (
    BiLevelDatasetSpecification,
    DatasetSpecification,
    HierarchicalDatasetSpecification,
    read_specification,
    write_specification,
)
from tests.episodes.plain_records import write_specification as write_json

FLAT = {
    "name": "toys",
    "classes_per_split": {"TRAIN": 2, "VALID": 0, "TEST": 1},
    "images_per_class": {"2": 7, "0": 3, "1": 4},
    "class_names": {"0": "ant", "1": "bee", "2": "cat"},
    "path": "/somewhere/else",
    "file_pattern": "{}.tfrecords",
    "__class__": "DatasetSpecification",
}
BI_LEVEL = {
    "name": "letters",
    "superclasses_per_split": {"TRAIN": 1, "VALID": 1, "TEST": 1},
    "classes_per_superclass": {"0": 2, "1": 1, "2": 1},
    "images_per_class": {"0": 3, "1": 4, "2": 7, "3": 5},
    "superclass_names": {"0": "Greek", "1": "Latin", "2": "Runes"},
    "class_names": {"0": "Greek-a", "1": "Greek-b", "2": "Latin-a", "3": "Runes-f"},
    "path": "",
    "file_pattern": "{}.tfrecords",
    "__class__": "BiLevelDatasetSpecification",
}
# n3 is reached by two paths: its images count once.
HIERARCHICAL = {
    "name": "tree",
    "split_subgraphs": {
        "TRAIN": [
            {"wn_id": "n0", "words": "all", "children_ids": ["n1", "n2"], "parents_ids": []},
            {"wn_id": "n1", "words": "one", "children_ids": ["n3"], "parents_ids": ["n0"]},
            {"wn_id": "n2", "words": "two", "children_ids": ["n3", "n4"], "parents_ids": ["n0"]},
            {"wn_id": "n3", "words": "ox", "children_ids": [], "parents_ids": ["n1", "n2"]},
            {"wn_id": "n4", "words": "yak", "children_ids": [], "parents_ids": ["n2"]},
        ],
        "VALID": [],
        "TEST": [{"wn_id": "n9", "words": "elk", "children_ids": [], "parents_ids": []}],
    },
    "images_per_class": {
        "TRAIN": {"n0": 30, "n1": 10, "n2": 30, "n3": 10, "n4": 20},
        "VALID": {},
        "TEST": {"n9": 5},
    },
    "class_names": {"0": "n3", "1": "n4", "2": "n9"},
    "path": "",
    "file_pattern": "{}.tfrecords",
    "__class__": "HierarchicalDatasetSpecification",
}


def test_flat_specification(tmp_path: Path) -> None:
    write_json(tmp_path, FLAT)
    read = read_specification(tmp_path)
    assert type(read) is DatasetSpecification
    assert read.name == "toys"
    assert read.class_names == ("ant", "bee", "cat")
    assert read.images_per_class == (3, 4, 7)
    assert [list(read.class_ids(part)) for part in PARTS] == [[0, 1], [], [2]]


def test_bi_level_specification(tmp_path: Path) -> None:
    write_json(tmp_path, BI_LEVEL)
    read = read_specification(tmp_path)
    assert isinstance(read, BiLevelDatasetSpecification)
    assert read.superclass_names == ("Greek", "Latin", "Runes")
    assert read.classes_per_superclass == (2, 1, 1)
    assert [list(read.class_ids(part)) for part in PARTS] == [[0, 1], [2], [3]]


def test_hierarchical_specification(tmp_path: Path) -> None:
    write_json(tmp_path, HIERARCHICAL)
    read = read_specification(tmp_path)
    assert isinstance(read, HierarchicalDatasetSpecification)
    assert read.images_per_class == (10, 20, 5)
    assert [list(read.class_ids(part)) for part in PARTS] == [[0, 1], [], [2]]
    assert read.images_under_nodes("train") == HIERARCHICAL["images_per_class"]["TRAIN"]


@pytest.mark.parametrize("values", [FLAT, BI_LEVEL, HIERARCHICAL])
def test_specifications_are_written_as_they_are_read(tmp_path: Path, values: dict) -> None:
    write_json(tmp_path, values)
    (tmp_path / "again").mkdir()
    write_specification(tmp_path / "again", read_specification(tmp_path))
    again = json.loads((tmp_path / "again" / "dataset_spec.json").read_text())
    assert again == values | {"path": ""}
    assert list(again) == list(values)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        (FLAT | {"__class__": "Other"}, "its __class__ is 'Other'; expected DatasetSpec"),
        (FLAT | {"file_pattern": "{}_{}.tfrecords"}, "one file a class"),
        (FLAT | {"images_per_class": {"0": {"train": 1, "test": 1}}}, "stands for a number"),
        (FLAT | {"images_per_class": {"0": 3, "1": 4}}, "images_per_class has 2 classes"),
        (FLAT | {"images_per_class": {"0": 3, "1": 4, "3": 7}}, "are not 0 to 2"),
        (FLAT | {"images_per_class": {"0": 3, "1": 4, "2": -7}}, "a number under 0"),
        (FLAT | {"classes_per_split": {"TRAIN": 2, "VALID": 0, "TEST": 2}}, "3 in all"),
        (FLAT | {"classes_per_split": {"TRAIN": 3}}, "has no 'VALID'"),
        (FLAT | {"class_names": {"0": "ant", "1": "ant", "2": "cat"}}, "has a name twice"),
        (FLAT | {"class_names": ["ant", "bee", "cat"]}, "is no dataset specification"),
        ([], "is no dataset specification"),
        (BI_LEVEL | {"classes_per_superclass": {"0": 1, "1": 1, "2": 1}}, "3 in all|4 in all"),
        (BI_LEVEL | {"superclass_names": {"0": "Greek"}}, "differ in number"),
        (HIERARCHICAL | {"class_names": {"0": "n3", "1": "n9", "2": "n4"}}, "leaves of the graph"),
    ],
)
def test_contradictions_are_told_in_one_line(tmp_path: Path, values: dict, complaint: str) -> None:
    write_json(tmp_path, values)
    with pytest.raises(EpisodesError, match=complaint) as caught:
        read_specification(tmp_path)
    assert "dataset_spec.json" in str(caught.value) and "\n" not in str(caught.value)


def test_what_is_no_conversion_is_told(tmp_path: Path) -> None:
    with pytest.raises(EpisodesError, match=r"is no Meta-Dataset conversion"):
        read_specification(tmp_path)
    (tmp_path / "dataset_spec.pkl").write_bytes(b"")
    with pytest.raises(EpisodesError, match=r"convert_from_pkl=True"):
        read_specification(tmp_path)
    (tmp_path / "dataset_spec.json").write_text("{")
    with pytest.raises(EpisodesError, match=r"not valid JSON"):
        read_specification(tmp_path)
