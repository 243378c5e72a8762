"""A finished Meta-Dataset conversion as a source of images: a TFRecord file a class id."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from episodes.errors import EpisodesError, unknown_name
from episodes.manifest import PARTS, Manifest
from episodes.meta_dataset.specification import FILE_PATTERN, DatasetSpecification
from episodes.meta_dataset.specification_file import FILE_NAME, is_conversion, read_specification
from episodes.tfrecord import parse_example, read_records
from episodes.tfrecord.framing import HEADER

IMAGE, LABEL = "image", "label"


class ConvertedImage(NamedTuple):
    """An image file, and the byte of its class's TFRecord file at which it begins."""

    offset: int
    encoded: bytes


@dataclass(frozen=True)
class Conversion:
    """A conversion in `folder` that has the classes and a split scheme of a manifest.

    `class_names` are the manifest's names by class id; `without_twins` says whether the images that
    the manifest lists as twins were left out.
    """

    folder: Path
    specification: DatasetSpecification
    class_names: tuple[str, ...]
    without_twins: bool

    @property
    def class_sizes(self) -> dict[str, int]:
        """The images of each class, as the specification counts them."""
        return dict(zip(self.class_names, self.specification.images_per_class, strict=True))

    def file_of(self, class_id: int) -> Path:
        """The TFRecord file of a class."""
        return self.folder / FILE_PATTERN.format(class_id)

    def images(self, class_id: int) -> Iterator[ConvertedImage]:
        """The images of a class in the file's order, which is what tells them apart.

        Raises EpisodesError where the file is missing, damaged, of another class, or of another
        number of images than the specification says.
        """
        path, count = self.file_of(class_id), 0
        for record in read_records(path):
            where = f"{path}: record {count} at byte {record.offset}"
            try:
                features = parse_example(record.data)
            except ValueError as error:
                raise EpisodesError(f"{where} is no tf.Example: {error}") from None
            images = features.get(IMAGE, [])
            if len(images) != 1 or not isinstance(images[0], bytes):
                raise EpisodesError(
                    f"{where} has not one {IMAGE!r} of bytes (its features: "
                    f"{', '.join(features) or 'none'})"
                )
            if features.get(LABEL) != [class_id]:
                raise EpisodesError(
                    f"{where} has the label {features.get(LABEL)}; expected [{class_id}]: "
                    "the file is of another class or of another conversion"
                )
            begin = record.data.tobytes().index(images[0])
            yield ConvertedImage(record.offset + HEADER + begin, images[0])
            count += 1
        expected = self.specification.images_per_class[class_id]
        if count != expected:
            raise EpisodesError(
                f"{path} has {count:,} images; {FILE_NAME} says {expected:,}: convert it again"
            )


def place_id(place: int) -> str:
    """The id of the image at that place of its class's file."""
    return f"{place:06d}"


def conversion_folder(given: Path, facts: Manifest) -> Path | None:
    """The folder of the conversion of the dataset that `given` leads to, None where none is there.

    `given` is that folder, its dataset_spec.json, or the folder of all converted datasets.
    """
    names = [facts.name] if facts.meta_dataset is None else [facts.meta_dataset.name, facts.name]
    folder = given.parent if given.name == FILE_NAME else given
    candidates = (folder, *(folder / name for name in names))
    return next((path for path in candidates if is_conversion(path)), None)


def read_conversion(folder: Path, facts: Manifest) -> Conversion:
    """The conversion in `folder` of the dataset that `facts` describe.

    Raises EpisodesError where its classes are not the manifest's, or its splits none of theirs.
    """
    specification = read_specification(folder)
    own_names = {converted_name(name, facts): name for name in facts.class_names}
    for class_id, name in enumerate(specification.class_names):
        if name not in own_names:
            hint = unknown_name(f"class of {facts.name}", name, own_names)
            raise EpisodesError(
                f"{folder / FILE_NAME} is not of {facts.name}: its class {class_id}: {hint}"
            )
    class_names = tuple(own_names[name] for name in specification.class_names)
    parts = [{class_names[index] for index in specification.class_ids(part)} for part in PARTS]
    if parts not in _splits(facts):
        sizes = "/".join(str(len(part)) for part in parts)
        raise EpisodesError(
            f"{folder / FILE_NAME} splits {facts.name} {sizes} into train/val/test in a way that "
            f"is none of {', '.join(facts.schemes)}: get the conversion of a published split"
        )
    twins = len(facts.twins.images) if facts.twins else 0
    images = sum(specification.images_per_class)
    return Conversion(
        folder, specification, class_names, bool(twins) and images == facts.images - twins
    )


def converted_name(class_name: str, facts: Manifest) -> str:
    """What Meta-Dataset calls a class: `SUPERCLASS-CLASS` where its classes are of two levels."""
    if facts.meta_dataset is None or facts.meta_dataset.levels is None:
        return class_name
    match = re.fullmatch(facts.meta_dataset.levels, class_name)
    assert match is not None  # the manifest was checked for it
    return "-".join(match.groups())


def _splits(facts: Manifest) -> list[list[set[str]]]:
    return [
        [{facts.class_names[index] for index in scheme.classes[part]} for part in PARTS]
        for scheme in facts.schemes.values()
    ]
