"""Small archives in the exact layout of each dataset's real ones.

Each module here has `LAYOUTS`: by (dataset, source), a function that writes the source's files for
a manifest with few images a class, and returns the images by (class name, image id).
"""

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np

from episodes.manifest import Manifest

Images = dict[tuple[str, str], bytes | np.ndarray]
Writer = Callable[[Path, Manifest], Images]

MODULES = (
    "aircraft",
    "cifar",
    "coco",
    "cub",
    "dogs",
    "dtd",
    "flowers",
    "fungi",
    "gtsrb",
    "imagenet",
    "miniimagenet",
    "mnist",
    "tieredimagenet",
)


def all_layouts() -> dict[tuple[str, str], Writer]:
    """The writers of every module, by (dataset, source)."""
    layouts: dict[tuple[str, str], Writer] = {}
    for name in MODULES:
        layouts |= import_module(f"tests.episodes.layouts.{name}").LAYOUTS
    return layouts


def small(facts: Manifest, source: str) -> Manifest:
    """`facts` with 1 to 3 images a class, of that one source."""
    counts = tuple(1 + index % 3 for index in range(len(facts.class_names)))
    return replace(
        facts,
        images=sum(counts),
        class_images=counts,
        schemes={name: replace(scheme, images=None) for name, scheme in facts.schemes.items()},
        sources=tuple(
            replace(entry, names_sha256=None) for entry in facts.sources if entry.name == source
        ),
        twins=None,
    )
