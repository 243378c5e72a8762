"""Preparing: read a dataset's files, make rows of its images, write them as a store.

A store is there whole or not at all. What was read waits in a spool beside it, so that an
interrupted preparation goes on where it was.
"""

import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial as partial_of
from importlib.metadata import version
from pathlib import Path

from episodes import manifest, places, readers
from episodes.errors import EpisodesError, UsageError
from episodes.manifest import Manifest
from episodes.meta_dataset.conversion import conversion_folder
from episodes.prepare import building, checking, in_place, sourcing
from episodes.prepare.building import Contents, Form
from episodes.prepare.decoding import Corrupt
from episodes.prepare.gathering import gather
from episodes.prepare.inputs import Input
from episodes.prepare.spool import Spool, SpoolIsStale
from episodes.progress import Progress
from episodes.recipe import NO_CROP, Recipe, recipe_for, suffix
from episodes.store import Store
from episodes.store.layout import FILE_NAME, RECORDS, RECORDS_IN_PLACE, belongs_to_store
from episodes.store.placing import built_beside, exclusive, put_back
from episodes.store.shards import DEFAULT_SHARD_BYTES
from episodes.version import installed_version

ATTEMPTS = 3

__all__ = ["Input", "prepare", "prepare_input", "store_name"]


def prepare(
    dataset: str | Manifest,
    source: Path | str | None = None,
    *,
    variant: str | None = None,
    size: int | None = None,
    resize: str | None = None,
    crop: str = NO_CROP,
    rotations: bool = False,
    drop_twins: bool = False,
    container: str | None = None,
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
    command: str | None = None,
) -> Store:
    """The store of `dataset`, made from the files in `source` unless it is there already.

    `dataset` is a shipped manifest's name, or a manifest; `source` the folder of its files, or of a
    Meta-Dataset conversion of it, without which they are fetched, unless `offline`; `variant` names
    one of its sources; `size` is the edge in pixels and `resize` the method; `crop` "box" cuts to
    the object; `rotations` adds every class turned by 90, 180 and 270 degrees as classes of their
    own; `drop_twins` leaves out the images that another dataset has too; `container` is "hdf5",
    "webdataset", or what is used where it lies, arrays as "npy" (the default where that gives what
    is asked for, else "hdf5"), a conversion as "tfrecord"; `encoding` is "raw" or "original";
    `partial` makes a store of what is there, `skip_corrupt` of what decodes; `out` is the store's
    folder (default: `stores/` under `home`); `force` replaces what is there; `progress` is called
    as `episodes.progress.Progress` says; `command` is what to type once files are there that must
    be fetched by hand. Raises EpisodesError for missing or damaged files, counts that differ from
    the manifest's, and a disk that cannot be written.
    """
    facts = manifest.load(dataset) if isinstance(dataset, str) else dataset
    source = None if source is None else Path(source)
    threads = usable_cores() if threads is None else threads
    encoding = "original" if container == RECORDS_IN_PLACE else encoding
    if source is not None and (converted := conversion_folder(source, facts)) is not None:
        from episodes.meta_dataset.preparing import prepare_conversion

        return prepare_conversion(
            facts,
            converted,
            form=Form(container or "hdf5", encoding, shard_bytes, threads),
            variant=variant,
            size=size,
            resize=resize,
            crop=crop,
            rotations=rotations,
            drop_twins=drop_twins,
            partial=partial,
            skip_corrupt=skip_corrupt,
            out=out,
            home=home,
            force=force,
            progress=progress,
        )
    recipe = recipe_for(
        facts,
        size=size,
        resize=resize,
        crop=crop,
        rotations=rotations,
        drop_twins=drop_twins,
        own_size=encoding == "original",
    )
    if container == in_place.CONTAINER:
        in_place.refuse_changes(facts, recipe)
    container = container or in_place.default_container(facts, recipe, encoding)

    def find_input() -> Input:
        if facts.generated and source is None:
            chosen, folder = facts.sources[0], Path()
        elif source is None:
            chosen, folder = sourcing.fetched_source(
                facts, variant, crop, home, offline, progress, command
            )
        else:
            chosen, folder = sourcing.find_source(facts, source, variant, crop, partial)
        read, read_arrays = readers.reader_of(chosen), readers.array_reader_of(chosen)
        return Input(
            chosen.name,
            lambda: read(facts, chosen, folder, crop != NO_CROP),
            list(sourcing.described_files(chosen, folder, crop)),
            chosen.names_sha256,
            sourcing.advice(chosen, crop),
            partial_of(read_arrays, facts, chosen, folder) if read_arrays else None,
        )

    return prepare_input(
        facts,
        recipe,
        Form(container, encoding, shard_bytes, threads),
        find_input,
        source=variant,
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
    source: str | None = None,
    partial: bool = False,
    skip_corrupt: bool = False,
    out: Path | None = None,
    home: Path | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Store:
    """As `prepare`, for an input that is found only if the store is not there yet."""
    from filelock import FileLock

    if form.container == RECORDS_IN_PLACE and source != RECORDS:
        raise UsageError(
            f"--format {RECORDS_IN_PLACE} is a Meta-Dataset conversion that is used where it lies: "
            f"type `episodes prepare {facts.name} --format {RECORDS_IN_PLACE} --from RECORDS`"
        )
    target = Path(out) if out else places.stores(home) / store_name(facts, recipe, form, partial)
    if target.is_symlink():
        target = target.resolve()
    wanted = _Wanted(facts, recipe, form, source, partial, skip_corrupt)
    try:
        if not target.exists() and target.parent.is_dir():
            put_back(target)
        if target.exists() and not force:
            return _already_prepared(target, wanted)
        found_input = _found(find_input)
        begun = target.name if out else store_name(facts, recipe)
        spool = target.parent / f".{begun}{'-files' * (form.encoding != 'raw')}.spool"
        with exclusive(target, progress), FileLock(f"{spool}.lock"):
            if target.exists():
                if not force:
                    return _already_prepared(target, wanted)
                _refuse_other_folder(target)
            if found_input.make is not None:
                found_input.make(target)
                return Store(target)
            if form.container == in_place.CONTAINER:
                in_place.make(target, facts, recipe, form, found_input, partial, progress)
                return Store(target)
            _make(target, facts, recipe, form, found_input, spool, partial, skip_corrupt, progress)
            return Store(target)
    except (OSError, sqlite3.Error) as error:
        raise EpisodesError(
            f"cannot write the store {target}: {getattr(error, 'strerror', None) or error}: "
            "free or choose another place (--out, EPISODES_HOME)"
        ) from None


def store_name(
    facts: Manifest, recipe: Recipe, form: Form | None = None, partial: bool = False
) -> str:
    """The name of the store: the dataset's, and what differs from its own recipe and container."""
    container = ""
    if form and form.container != in_place.default_container(facts, recipe, form.encoding):
        container = f"-{form.container}"
    return f"{facts.name}{suffix(recipe, facts)}{'-partial' if partial else ''}{container}"


def usable_cores() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _found(find_input: Callable[[], Input]) -> Input:
    try:
        return find_input()
    except OSError as error:
        raise EpisodesError(f"cannot read {error.filename}: {error.strerror or error}") from None


def _make(
    target: Path,
    facts: Manifest,
    recipe: Recipe,
    form: Form,
    found_input: Input,
    spool_folder: Path,
    partial: bool,
    skip_corrupt: bool,
    progress: Progress | None,
) -> None:
    identity = {
        "manifest": facts.digest,
        "source": found_input.source,
        "recipe": asdict(recipe),
        "encoding": form.encoding,
        "versions": [installed_version(), version("pillow")],
    }
    left_out = checking.left_out(facts, recipe)
    for attempt in range(ATTEMPTS):
        with Spool(spool_folder, identity) as spool:
            try:
                corrupt = gather(
                    found_input.records(),
                    spool,
                    facts,
                    recipe,
                    encoding=form.encoding,
                    threads=form.threads,
                    skip_corrupt=skip_corrupt,
                    left_out=left_out,
                    progress=progress,
                )
                contents = _checked(spool, corrupt, facts, recipe, found_input, partial)
                with built_beside(target) as folder:
                    building.build(
                        folder, target.name, facts, recipe, form, contents, spool, progress
                    )
            except SpoolIsStale:
                spool.discard()
                if attempt == ATTEMPTS - 1:
                    raise EpisodesError(
                        f"what was written to {spool_folder} is not what is read from it: "
                        "the files that are read are changing, or the disk is failing"
                    ) from None
                continue
            spool.discard()
            return


def _checked(
    spool: Spool,
    corrupt: Sequence[Corrupt],
    facts: Manifest,
    recipe: Recipe,
    found_input: Input,
    partial: bool,
) -> Contents:
    sizes = Counter(spool.class_sizes())
    sizes.update(image.class_name for image in corrupt)
    completeness = checking.check_counts(sizes, facts, recipe, partial, found_input.advice)
    expected = found_input.names_sha256
    if expected and completeness.whole and not checking.left_out(facts, recipe):
        names = [f"{image.class_name}/{image.image_id}" for image in corrupt]
        checking.check_names(spool.names_sha256(names), expected, facts, found_input.advice)
    return Contents(completeness, corrupt, found_input.source, found_input.files)


def _refuse_other_folder(target: Path) -> None:
    if not target.is_dir() or not (target / FILE_NAME).is_file():
        raise EpisodesError(
            f"{target} is there and is not a store: choose another --out, or delete it"
        )
    for path in target.iterdir():
        if not belongs_to_store(path):
            raise EpisodesError(
                f"{target} holds {path.name}, which is no part of a store: choose another --out"
            )


@dataclass(frozen=True)
class _Wanted:
    """What a store must be to be taken for the one that was asked for."""

    facts: Manifest
    recipe: Recipe
    form: Form
    source: str | None
    partial: bool
    skip_corrupt: bool


def _already_prepared(target: Path, wanted: _Wanted) -> Store:
    if not (target / FILE_NAME).is_file():
        _refuse_other_folder(target)
    store = Store(target)
    info, facts = store.info, wanted.facts
    made_as = (info.dataset, info.preprocessing, info.container, info.encoding)
    if made_as != (
        facts.name,
        asdict(wanted.recipe),
        wanted.form.container,
        wanted.form.encoding,
    ) or wanted.source not in (None, info.source):
        raise EpisodesError(
            f"{target} holds {store.name} ({info.container}, {info.encoding}) made from "
            f"{info.source} with {dict(info.preprocessing)}: "
            "choose another --out, or add --force to replace it"
        )
    if (info.partial and not wanted.partial) or (info.skipped and not wanted.skip_corrupt):
        raise EpisodesError(
            f"{target} holds {store.name}, which is not whole ({'; '.join(info.marks)}): "
            "add --force to replace it, or ask for such a store (--partial, --skip-corrupt)"
        )
    if info.version != facts.version or not _same_splits(store, facts, wanted.recipe):
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
