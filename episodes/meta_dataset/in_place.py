"""A store of a conversion's own files: links to them, and an index of the images in each."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from episodes import images
from episodes.archive import file_sha256
from episodes.disk import sync_file
from episodes.manifest import Manifest
from episodes.meta_dataset.conversion import Conversion, ConvertedImage, place_id
from episodes.prepare import building, checking
from episodes.prepare.building import Contents, Form
from episodes.prepare.inputs import Input
from episodes.progress import Progress
from episodes.recipe import Recipe
from episodes.store.digest import ContentDigest, shape_and_hash
from episodes.store.layout import IndexInfo, ShardInfo
from episodes.store.placing import built_beside

IMAGES_AT_ONCE = 128
INDEX_ENTRY = [("offset", "<i8"), ("length", "<i8"), ("id", "S12")]

Shape = tuple[int, int, int]


def make(
    target: Path,
    facts: Manifest,
    recipe: Recipe,
    form: Form,
    conversion: Conversion,
    found_input: Input,
    partial: bool,
    progress: Progress | None,
) -> None:
    """Make the store `target` of the files of `conversion`, all of which are read and decoded once.

    Raises EpisodesError for what is damaged, and counts that differ from the manifest's.
    """
    class_ids = {name: class_id for class_id, name in enumerate(conversion.class_names)}
    present = [
        (name, class_ids[name])
        for name in facts.class_names
        if name in class_ids
        and not (partial and not conversion.file_of(class_ids[name]).exists())
        and conversion.class_sizes[name]
    ]
    sizes = {name: conversion.class_sizes[name] for name, _ in present}
    completeness = checking.check_counts(sizes, facts, recipe, partial, found_input.advice)
    contents = Contents(completeness, (), found_input.source, found_input.files)
    shards: list[ShardInfo] = []
    shapes: set[Shape] = set()
    digest = ContentDigest()
    with built_beside(target) as folder, ThreadPoolExecutor(form.threads) as pool:
        for name, class_id in present:
            digest.start_class(name)
            entries: list[tuple[int, int, bytes]] = []
            for some in _blocks(conversion.images(class_id)):
                ids = [place_id(len(entries) + place) for place in range(len(some))]
                names = [f"{name}/{image_id}" for image_id in ids]
                hashes = pool.map(_hashed, some, names, [facts.image.channels] * len(some))
                of_block = list(hashes)
                digest.add_hashed_rows(ids, of_block)
                shapes |= {shape for shape, _ in of_block}
                entries += [
                    (image.offset, len(image.encoded), image_id.encode())
                    for image, image_id in zip(some, ids, strict=True)
                ]
                if progress:
                    done = sum(shard.rows for shard in shards) + len(entries)
                    progress("reading images", done, sum(sizes.values()))
            shards.append(_linked(folder, len(shards), conversion.file_of(class_id), entries))
        shape = shapes.pop() if len(shapes) == 1 else None
        info = building.described(
            target.name,
            facts,
            recipe,
            form,
            contents,
            sizes,
            shape,
            tuple(shards),
            digest.hexdigest(),
        )
        building.complete(folder, info, facts)


def _blocks(found: Iterator[ConvertedImage]) -> Iterator[list[ConvertedImage]]:
    some: list[ConvertedImage] = []
    for image in found:
        some.append(image)
        if len(some) == IMAGES_AT_ONCE:
            yield some
            some = []
    if some:
        yield some


def _hashed(image: ConvertedImage, name: str, channels: int) -> tuple[Shape, bytes]:
    return shape_and_hash(images.decode(image.encoded, name, channels))


def _linked(
    folder: Path, number: int, path: Path, entries: list[tuple[int, int, bytes]]
) -> ShardInfo:
    """A link in `folder` to a class's file, with its index, as a shard."""
    link = folder / f"shard-{number:05d}.tfrecords"
    link.symlink_to(path.absolute())
    index = link.with_suffix(".npy")
    np.save(index, np.array(entries, INDEX_ENTRY))
    sync_file(index)
    return ShardInfo(
        file=link.name,
        bytes=path.stat().st_size,
        sha256=file_sha256(path),
        rows=len(entries),
        index=IndexInfo(index.name, index.stat().st_size, file_sha256(index)),
    )
