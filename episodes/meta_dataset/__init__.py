"""Meta-Dataset's own files: the specification of a converted dataset, and its records."""

from episodes.meta_dataset.specification import (
    BiLevelDatasetSpecification,
    DatasetSpecification,
    HierarchicalDatasetSpecification,
    Synset,
)
from episodes.meta_dataset.specification_file import read_specification, write_specification

__all__ = [
    "BiLevelDatasetSpecification",
    "DatasetSpecification",
    "HierarchicalDatasetSpecification",
    "Synset",
    "read_specification",
    "write_specification",
]
