"""What a source's reader finds in a folder."""

from pathlib import Path

import numpy as np

from episodes import readers
from episodes.manifest import Manifest
from tests.episodes.layouts import Images


def read(facts: Manifest, folder: Path) -> Images:
    """The images that the reader of the first source of `facts` finds, none of them twice."""
    source = facts.sources[0]
    assert readers.is_there(source, folder)
    images: Images = {}
    for record in readers.reader_of(source)(facts, source, folder, False):
        assert (record.class_name, record.image_id) not in images
        images[record.class_name, record.image_id] = record.image
    return images


def assert_same(found: Images, expected: Images) -> None:
    """The same images under the same names: files byte for byte, pixels one by one."""
    assert found.keys() == expected.keys()
    for key, image in expected.items():
        assert type(found[key]) is type(image)
        assert (
            np.array_equal(found[key], image)
            if isinstance(image, np.ndarray)
            else found[key] == image
        )
