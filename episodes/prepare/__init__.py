"""Preparing: read a dataset's files, make rows of its images, write them as a store.

A store is there whole or not at all. What was read waits in a spool beside it, so that an
interrupted preparation goes on where it was.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from episodes import manifest, places, readers
from episodes.errors import EpisodesError
from episodes.manifest import Manifest
from episodes.prepare import building, checking, sourcing
from episodes.prepare.building import Contents, Form
from episodes.prepare.gathering import SpoolIsStale, gather
from episodes.prepare.spool import Spool
from episodes.progress import Progress
from episodes.readers import Record
from episodes.recipe import NO_CROP, Recipe, recipe_for, suffix
from episodes.store import Store
from episodes.store.layout import FILE_NAME, belongs_to_store
from episodes.store.placing import built_beside, exclusive
from episodes.store.shards import DEFAULT_SHARD_BYTES

__all__ = ["Input", "prepare", "prepare_input", "store_name"]


@dataclass(frozen=True)
class Input:
    """What is to be read: the source's name, its records from the first on, its files described.

    `names_sha256` is that of `episodes.manifest.Source`; `advice` says what to do where images are
    missing.
    """

    source: str
    records: Callable[[], Iterable[Record]]
    files: Sequence[Mapping[str, Any]] = ()
    names_sha256: str | None = None
    advice: str = "look into what was given"


def prepare(
    dataset: str | Manifest,
    source: Path | None = None,
    *,
    variant: str | None = None,
    size: int | None = None,
    resize: str | None = None,
    crop: str = NO_CROP,
    rotations: bool = False,
    drop_twins: bool = False,
    container: str = "hdf5",
    encoding: str = "raw",
    partial: bool = False,
    skip_corrupt: bool = False,
    out: Path | None = None,
    home: Path | None = None,
    force: bool = False,
    offline: bool = False,
    shard_bytes: int = DEFAULT_SHARD_BYTES,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Store:
    """The store of `dataset`, made from the files in `source` unless it is there already.

    `dataset` is a shipped manifest's name, or a manifest; `source` the folder of its files, without
    which they are fetched, unless `offline`; `variant` names one of its sources; `size` is the edge
    in pixels and `resize` the method; `crop` "box" cuts to the object; `rotations` adds every class
    turned by 90, 180 and 270 degrees as classes of their own; `drop_twins` leaves out the images
    that another dataset has too; `container` is "hdf5" or "webdataset", `encoding` "raw" or
    "original"; `partial` makes a store of what is there, `skip_corrupt` of what decodes; `out` is
    the store's folder (default: `stores/` under `home`); `force` replaces what is there; `progress`
    is called as `episodes.progress.Progress` says. Raises EpisodesError
    for missing or damaged files, counts that differ from the manifest's, and a disk that cannot be
    written.
    """
    facts = manifest.load(dataset) if isinstance(dataset, str) else dataset
    recipe = recipe_for(
        facts,
        size=size,
        resize=resize,
        crop=crop,
        rotations=rotations,
        drop_twins=drop_twins,
        own_size=encoding == "original",
    )

    def find_input() -> Input:
        if facts.generated and source is None:
            chosen, folder = facts.sources[0], Path()
        elif source is None:
            chosen, folder = sourcing.fetched_source(facts, variant, crop, home, offline, progress)
        else:
            chosen, folder = sourcing.find_source(facts, source, variant, crop)
        read = readers.reader_of(chosen)
        return Input(
            chosen.name,
            lambda: read(facts, chosen, folder, crop != NO_CROP),
            list(sourcing.described_files(chosen, folder, crop)),
            chosen.names_sha256,
            sourcing.advice(chosen, crop),
        )

    return prepare_input(
        facts,
        recipe,
        Form(container, encoding, shard_bytes, threads or usable_cores()),
        find_input,
        partial=partial,
        skip_corrupt=skip_corrupt,
        out=out,
        home=home,
        force=force,
        progress=progress,
    )


def prepare_input(
    facts: Manifest,
    recipe: Recipe,
    form: Form,
    find_input: Callable[[], Input],
    *,
    partial: bool = False,
    skip_corrupt: bool = False,
    out: Path | None = None,
    home: Path | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Store:
    """As `prepare`, for an input that is found only if the store is not there yet."""
    target = out or places.stores(home) / store_name(facts, recipe, form, partial)
    if target.exists() and not force:
        return _already_prepared(target, facts, recipe, form)
    found_input = find_input()
    try:
        with exclusive(target):
            if target.exists():
                if not force:
                    return _already_prepared(target, facts, recipe, form)
                _refuse_other_folder(target)
            _make(target, facts, recipe, form, found_input, partial, skip_corrupt, progress)
            return Store(target)
    except OSError as error:
        raise EpisodesError(
            f"cannot write the store {target}: {error.strerror or error}: "
            "free or choose another place (--out, EPISODES_HOME)"
        ) from None


def store_name(
    facts: Manifest, recipe: Recipe, form: Form | None = None, partial: bool = False
) -> str:
    """The name of the store: the dataset's, and what differs from its own recipe and from HDF5."""
    container = f"-{form.container}" if form and form.container != "hdf5" else ""
    return f"{facts.name}{suffix(recipe, facts)}{'-partial' if partial else ''}{container}"


def usable_cores() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _make(
    target: Path,
    facts: Manifest,
    recipe: Recipe,
    form: Form,
    found_input: Input,
    partial: bool,
    skip_corrupt: bool,
    progress: Progress | None,
) -> None:
    spool_folder = target.parent / f".{target.name}.spool"
    identity = {
        "manifest": facts.digest,
        "source": found_input.source,
        "recipe": asdict(recipe),
        "encoding": form.encoding,
    }
    left_out = checking.left_out(facts, recipe)
    while True:
        with Spool(spool_folder, identity) as spool:
            try:
                gathered = gather(
                    found_input.records(),
                    spool,
                    recipe,
                    class_names=frozenset(facts.class_names),
                    channels=facts.image.channels,
                    encoding=form.encoding,
                    threads=form.threads,
                    skip_corrupt=skip_corrupt,
                    left_out=left_out,
                    expected=facts.images,
                    progress=progress,
                )
            except SpoolIsStale:
                spool.discard()
                continue
            completeness = checking.check_counts(
                gathered.found,
                gathered.corrupt,
                facts,
                recipe,
                partial=partial,
                names_sha256=found_input.names_sha256,
                advice=found_input.advice,
            )
            contents = Contents(
                gathered.found,
                gathered.corrupt,
                completeness,
                found_input.source,
                found_input.files,
            )
            with built_beside(target) as folder:
                building.build(folder, target.name, facts, recipe, form, contents, spool, progress)
            spool.discard()
            return


def _refuse_other_folder(target: Path) -> None:
    if not target.is_dir() or not (target / FILE_NAME).is_file():
        raise EpisodesError(f"{target} is there and is not a store: choose another --out")
    for path in target.iterdir():
        if not belongs_to_store(path):
            raise EpisodesError(
                f"{target} holds {path.name}, which is no part of a store: choose another --out"
            )


def _already_prepared(target: Path, facts: Manifest, recipe: Recipe, form: Form) -> Store:
    _refuse_other_folder(target)
    store = Store(target)
    info = store.info
    made_as = (info.dataset, info.preprocessing, info.container, info.encoding)
    if made_as != (facts.name, asdict(recipe), form.container, form.encoding):
        raise EpisodesError(
            f"{target} holds {store.name} ({info.container}, {info.encoding}) made with "
            f"{dict(info.preprocessing)}: choose another --out, or add --force to replace it"
        )
    if info.version != facts.version or not _same_splits(store, facts, recipe):
        raise EpisodesError(
            f"{target} was made from an earlier manifest of {facts.name}, whose splits differ: "
            "add --force to replace it"
        )
    return store


def _same_splits(store: Store, facts: Manifest, recipe: Recipe) -> bool:
    copies = building.QUARTER_TURNS if recipe.rotations else 1
    there = {name.rpartition("/rot")[0] if copies > 1 else name for name in store.class_names}
    present = [index for index, name in enumerate(facts.class_names) if name in there]
    return dict(store.info.splits) == building.splits(facts, recipe, present)
