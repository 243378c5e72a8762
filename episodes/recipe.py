"""Recipes: what is done to a dataset's images before they become the rows of a store."""

from dataclasses import dataclass

from episodes import images
from episodes.errors import UsageError
from episodes.manifest import Manifest

LARGEST_SIZE = 4096
NO_CROP = "none"


@dataclass(frozen=True)
class Recipe:
    """What is done to the pixels.

    `size` is the edge in pixels, None where every image keeps its own; `resize` the method by which
    an image of another size gets there; `crop` "none" or "box"; `rotations` adds each class turned
    by quarter turns; `twins` says whether images that are another dataset's too are kept.
    """

    size: int | None
    resize: str
    crop: str = NO_CROP
    rotations: bool = False
    twins: str = "kept"

    def __post_init__(self) -> None:
        if self.size is not None and not 1 <= self.size <= LARGEST_SIZE:
            raise UsageError(f"size is {self.size}; expected 1 to {LARGEST_SIZE} pixels")
        images.check_method(self.resize)


def recipe_for(
    facts: Manifest,
    *,
    size: int | None = None,
    resize: str | None = None,
    crop: str = NO_CROP,
    rotations: bool = False,
    drop_twins: bool = False,
    own_size: bool = False,
) -> Recipe:
    """The manifest's own recipe, changed by what was asked for.

    `own_size` keeps every image at its own size. Raises UsageError for what the dataset does not
    have, and for combinations that contradict each other.
    """
    if crop not in (NO_CROP, *facts.image.crops):
        on_offer = ", ".join((NO_CROP, *facts.image.crops))
        raise UsageError(f"{facts.name} has no crop {crop!r}; expected one of: {on_offer}")
    if drop_twins and facts.twins is None:
        raise UsageError(f"{facts.name} lists no twins of another dataset: leave --drop-twins out")
    if own_size and (size is not None or resize is not None or crop != NO_CROP or rotations):
        raise UsageError(
            "--encoding original keeps the images as they are: "
            "leave --size, --resize, --crop and --rotations out"
        )
    return Recipe(
        size=None if own_size else facts.image.size if size is None else size,
        resize=resize or facts.image.resize,
        crop=crop,
        rotations=rotations,
        twins="dropped" if drop_twins else "kept",
    )


def suffix(recipe: Recipe, facts: Manifest) -> str:
    """What tells the recipe's store from the dataset's own: "-105px-rotations", or nothing."""
    usual = recipe_for(facts)
    parts = (
        (recipe.size is None, "original"),
        (recipe.size not in (None, usual.size), f"{recipe.size}px"),
        (recipe.resize != usual.resize, f"by-{recipe.resize}"),
        (recipe.crop != NO_CROP, recipe.crop),
        (recipe.twins != usual.twins, "no-twins"),
        (recipe.rotations, "rotations"),
    )
    return "".join(f"-{part}" for differs, part in parts if differs)
