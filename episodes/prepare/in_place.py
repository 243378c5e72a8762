"""A store of a source's own arrays: links to its files, which are neither copied nor changed."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from episodes import readers
from episodes.errors import UsageError
from episodes.manifest import Manifest
from episodes.prepare import building, checking
from episodes.prepare.building import Contents, Form
from episodes.prepare.inputs import Input
from episodes.progress import Progress
from episodes.readers import PixelArray
from episodes.recipe import Recipe, recipe_for
from episodes.store.digest import ContentDigest
from episodes.store.layout import ShardInfo
from episodes.store.placing import built_beside

CONTAINER = "npy"
ROWS_AT_ONCE = 4096


def default_container(facts: Manifest, recipe: Recipe, encoding: str) -> str:
    """Where a source's arrays hold just what is asked for "npy", else "hdf5"."""
    is_as_it_comes = encoding == "raw" and recipe == recipe_for(facts)
    return CONTAINER if is_as_it_comes and has_arrays(facts) else "hdf5"


def has_arrays(facts: Manifest) -> bool:
    """Whether the files of one of the dataset's sources are arrays that can be used as they are."""
    sources = (source for source in facts.sources if source.files)
    return any(readers.array_reader_of(source) is not None for source in sources)


def refuse_changes(facts: Manifest, recipe: Recipe) -> None:
    """Raises UsageError unless arrays can give what `recipe` asks for, without a copy."""
    if not has_arrays(facts):
        raise UsageError(
            f"the files of {facts.name} are no arrays to be used as they are: "
            "leave --format npy out"
        )
    if recipe != recipe_for(facts):
        raise UsageError(
            "--format npy uses the source's arrays as they are: leave --size, --resize, --crop, "
            "--drop-twins, --rotations and --encoding out, or copy with --format hdf5; "
            f'episodes.open("{facts.name}", size=84) resizes when it reads'
        )


def make(
    target: Path,
    facts: Manifest,
    recipe: Recipe,
    form: Form,
    found_input: Input,
    partial: bool,
    progress: Progress | None,
) -> None:
    """Make the store `target` of the arrays of `found_input`.

    Raises EpisodesError for arrays that are damaged, and counts that differ from the manifest's.
    """
    if found_input.arrays is None:
        raise UsageError(f"{found_input.source} has no arrays: leave --format npy out")
    found = {array.class_name: array for array in found_input.arrays() if array.rows}
    arrays = [found[name] for name in facts.class_names if name in found]
    sizes = {array.class_name: array.rows for array in arrays}
    completeness = checking.check_counts(sizes, facts, recipe, partial, found_input.advice)
    contents = Contents(completeness, (), found_input.source, found_input.files)
    with built_beside(target) as folder:
        digest = _digest(arrays, facts, progress)
        shards = _linked(arrays, folder, contents)
        shape = (facts.image.size, facts.image.size, facts.image.channels)
        info = building.described(
            target.name, facts, recipe, form, contents, sizes, shape, shards, digest
        )
        building.complete(folder, info, facts)


def _linked(
    arrays: Sequence[PixelArray], folder: Path, contents: Contents
) -> tuple[ShardInfo, ...]:
    """A link in `folder` to each array's file, as a shard."""
    hashes = {file["file"]: file["sha256"] for file in contents.files}
    shards = []
    for number, array in enumerate(arrays):
        link = folder / f"shard-{number:05d}.npy"
        link.symlink_to(array.path.absolute())
        shards.append(
            ShardInfo(
                file=link.name,
                bytes=array.path.stat().st_size,
                sha256=hashes[array.path.name],
                rows=array.rows,
                arrays={"images": array.offset},
            )
        )
    return tuple(shards)


def _digest(arrays: Sequence[PixelArray], facts: Manifest, progress: Progress | None) -> str:
    """The content digest of the arrays' rows, a bounded number of them at once."""
    edge, channels = facts.image.size, facts.image.channels
    digest, done, rows = ContentDigest(), 0, sum(array.rows for array in arrays)
    for array in arrays:
        digest.start_class(array.class_name)
        shape = (array.rows, edge, edge, channels)
        pixels = np.memmap(array.path, np.uint8, "r", array.offset, shape)
        for first in range(0, array.rows, ROWS_AT_ONCE):
            some = np.asarray(pixels[first : first + ROWS_AT_ONCE])
            digest.add_rows(list(map(str, range(first, first + len(some)))), some)
            done += len(some)
            if progress:
                progress("hashing the images", done, rows)
    return digest.hexdigest()
