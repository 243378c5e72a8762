"""What was found against what the manifest says: names, counts, and the pixels where witnessed."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from episodes.errors import EpisodesError
from episodes.manifest import Manifest
from episodes.recipe import Recipe

NAMED_CLASSES = 3

ClassSizes = Mapping[str, int]


@dataclass(frozen=True)
class Completeness:
    """How much of a dataset was found: images and classes, of how many."""

    images: int
    expected_images: int
    classes: int
    expected_classes: int

    @property
    def whole(self) -> bool:
        """Whether nothing is missing."""
        return (self.images, self.classes) == (self.expected_images, self.expected_classes)


def left_out(facts: Manifest, recipe: Recipe) -> frozenset[str]:
    """The images, CLASS/ID, that the recipe leaves out."""
    if facts.twins is None or recipe.twins == "kept":
        return frozenset()
    return frozenset(facts.twins.images)


def check_counts(
    sizes: ClassSizes, facts: Manifest, recipe: Recipe, partial: bool, advice: str
) -> Completeness:
    """Compare the images found of each class, corrupt ones too, with the manifest's counts.

    `advice` says where to get what is missing. Raises EpisodesError that says what is missing,
    unless `partial`, and always where there is nothing, or more than there should be.
    """
    expected_images = facts.images - len(left_out(facts, recipe))
    how_much = Completeness(
        sum(sizes.values()), expected_images, len(sizes), len(facts.class_names)
    )
    if not sizes:
        raise EpisodesError(f"no image of {facts.name} was found: {advice}")
    differing = [
        (name, sizes.get(name, 0), expected)
        for name, expected in _expected_sizes(facts, recipe).items()
        if sizes.get(name, 0) != expected and (expected is not None or name not in sizes)
    ]
    too_many = [entry for entry in differing if entry[2] is not None and entry[1] > entry[2]]
    if too_many or how_much.images > how_much.expected_images:
        raise EpisodesError(
            f"{_found_line(facts, how_much)}{_named(too_many)}: more than there should be; {advice}"
        )
    if not partial and (differing or not how_much.whole):
        raise EpisodesError(
            f"{_found_line(facts, how_much)}{_named(differing)}: {advice}, "
            "or add --partial to make a store of what is there"
        )
    if how_much.whole and not left_out(facts, recipe):
        _check_split_sizes(sizes, facts, advice)
    return how_much


def check_names(found: str, expected: str, facts: Manifest, advice: str) -> None:
    """Compare the hash of all names with the expected one; raises EpisodesError."""
    if found != expected:
        raise EpisodesError(
            f"{facts.name} has images of other names than it should (hash {found[:12]}…; "
            f"expected {expected[:12]}…): {advice}"
        )


def verified(facts: Manifest, recipe: Recipe, source: str, whole: bool, digest: str) -> str:
    """What was checked of a store with this content digest, in words."""
    if not whole:
        return "only what is there: names; it is not the whole dataset"
    witnessed = [
        witness.digest
        for witness in facts.witnesses
        if (witness.source, witness.crop, witness.size, witness.resize, witness.rotations)
        == (source, recipe.crop, recipe.size, recipe.resize, recipe.rotations)
        and recipe.twins == "kept"
    ]
    if digest in witnessed:
        return "names, counts and pixels"
    if witnessed:
        return f"names and counts; the pixels differ from the witnessed digest {witnessed[0]}"
    return "names and counts; no pixel digest was witnessed for this preparation"


def _expected_sizes(facts: Manifest, recipe: Recipe) -> dict[str, int | None]:
    expected = dict(zip(facts.class_names, facts.class_images, strict=True))
    for image in left_out(facts, recipe):
        name = image.rpartition("/")[0]
        count = expected[name]
        expected[name] = None if count is None else count - 1
    return expected


def _check_split_sizes(sizes: ClassSizes, facts: Manifest, advice: str) -> None:
    for scheme in facts.schemes.values():
        for part, expected in (scheme.images or {}).items():
            count = sum(sizes[facts.class_names[index]] for index in scheme.classes[part])
            if count != expected:
                raise EpisodesError(
                    f"{facts.name} has {count:,} images in {scheme.name}.{part}; "
                    f"expected {expected:,}: {advice}"
                )


def _found_line(facts: Manifest, found: Completeness) -> str:
    return (
        f"{facts.name} has {found.images:,} images of {found.classes:,} classes; "
        f"expected {found.expected_images:,} of {found.expected_classes:,}"
    )


def _named(classes: list[tuple[str, int, int | None]]) -> str:
    """Some of the classes whose counts differ, in brackets; nothing where none is known."""
    if not classes:
        return ""
    parts = list(_class_lines(classes[:NAMED_CLASSES]))
    if len(classes) > NAMED_CLASSES:
        parts.append(f"{len(classes) - NAMED_CLASSES} more classes")
    return f" ({', '.join(parts)})"


def _class_lines(classes: list[tuple[str, int, int | None]]) -> Iterator[str]:
    for name, count, expected in classes:
        yield f"{name}: {count:,}" + (f" of {expected:,}" if expected is not None else "")
