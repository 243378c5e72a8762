"""From a finished Meta-Dataset conversion to a store with the manifest's names and splits."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from episodes import places
from episodes.archive import file_sha256
from episodes.errors import UsageError
from episodes.manifest import Manifest
from episodes.meta_dataset import in_place
from episodes.meta_dataset.conversion import Conversion, place_id, read_conversion
from episodes.meta_dataset.specification_file import FILE_NAME
from episodes.prepare import checking, prepare_input
from episodes.prepare.building import Form
from episodes.prepare.inputs import Input
from episodes.progress import Progress
from episodes.readers import Record
from episodes.recipe import NO_CROP, recipe_for, suffix
from episodes.store import Store
from episodes.store.layout import RECORDS, RECORDS_IN_PLACE

ADVICE = "convert it again, or get the conversion whole"


def prepare_conversion(
    facts: Manifest,
    folder: Path,
    *,
    form: Form,
    variant: str | None = None,
    size: int | None = None,
    resize: str | None = None,
    crop: str = NO_CROP,
    rotations: bool = False,
    drop_twins: bool = False,
    partial: bool = False,
    skip_corrupt: bool = False,
    out: Path | None = None,
    home: Path | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Store:
    """The store DATASET-records of the conversion in `folder`; options as `prepare` takes them.

    The container "tfrecord" copies nothing: the conversion's files are used where they lie. An
    image's id is its place in its class's file, from 000000. The specification is compared with
    the manifest before anything is read, and all checksums, labels and counts while it is. Raises
    UsageError for a choice that was made when the images were converted, EpisodesError for
    a conversion of another dataset and for a damaged one.
    """
    conversion = read_conversion(folder, facts)
    _refuse_other_choices(conversion, facts, variant, crop, drop_twins)
    if form.container == RECORDS_IN_PLACE and skip_corrupt:
        raise UsageError(f"--format {RECORDS_IN_PLACE} leaves nothing out: no --skip-corrupt")
    recipe = recipe_for(
        facts,
        size=size,
        resize=resize,
        rotations=rotations,
        drop_twins=conversion.without_twins,
        own_size=form.encoding == "original",
    )
    checking.check_counts(conversion.class_sizes, facts, recipe, partial, f"{folder}: {ADVICE}")
    if out is None:
        container = f"-{form.container}" if form.container != "hdf5" else ""
        marks = f"-{RECORDS}{suffix(recipe, facts)}{'-partial' if partial else ''}{container}"
        out = places.stores(home) / f"{facts.name}{marks}"

    def find_input() -> Input:
        specification = folder / FILE_NAME
        described = {"file": FILE_NAME, "sha256": file_sha256(specification), "original": None}
        found = Input(
            RECORDS, lambda: records(conversion, partial), [described], advice=f"{folder}: {ADVICE}"
        )
        if form.container != RECORDS_IN_PLACE:
            return found

        def make(target: Path) -> None:
            in_place.make(target, facts, recipe, form, conversion, found, partial, progress)

        return replace(found, make=make)

    return prepare_input(
        facts,
        recipe,
        form,
        find_input,
        source=RECORDS,
        partial=partial,
        skip_corrupt=skip_corrupt,
        out=out,
        home=home,
        force=force,
        progress=progress,
    )


def records(conversion: Conversion, partial: bool = False) -> Iterator[Record]:
    """Every image of `conversion`, class id after class id; with `partial`, of the files there."""
    for class_id, class_name in enumerate(conversion.class_names):
        if partial and not conversion.file_of(class_id).exists():
            continue
        for place, image in enumerate(conversion.images(class_id)):
            yield Record(class_name, place_id(place), image.encoded)


def _refuse_other_choices(
    conversion: Conversion, facts: Manifest, variant: str | None, crop: str, drop_twins: bool
) -> None:
    """Raises UsageError for what the images are not, and can no longer become."""
    made = facts.meta_dataset.crop if facts.meta_dataset else NO_CROP
    other = {
        "--source": variant not in (None, RECORDS),
        "--crop": crop not in (NO_CROP, made),
        "--drop-twins": drop_twins and not conversion.without_twins,
    }
    if options := [option for option, given in other.items() if given]:
        raise UsageError(
            "a conversion's images are cut, and twins left out, as Meta-Dataset does it: "
            f"leave {' and '.join(options)} out"
        )
