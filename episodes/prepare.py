"""Preparing: read a dataset's files, resize its images, write them as a store, all or nothing."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from episodes import download, images, manifest, places
from episodes.archive import file_sha256
from episodes.disk import sync_file
from episodes.errors import EpisodesError, UsageError
from episodes.manifest import Manifest
from episodes.readers import Record, reader_of
from episodes.store import Store
from episodes.store.digest import ContentDigest
from episodes.store.hdf5 import DEFAULT_SHARD_BYTES, ShardWriter
from episodes.store.layout import StoreInfo, write_info
from episodes.store.placing import built_beside, exclusive
from episodes.version import installed_version

QUARTER_TURNS = 4
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Recipe:
    """How a dataset's images are turned into rows: pixels a side, resize filter, rotations."""

    size: int
    resize: str
    rotations: bool

    def __post_init__(self) -> None:
        if not 1 <= self.size <= 4096:
            raise UsageError(f"size is {self.size}; expected 1 to 4096 pixels")


def recipe_of(facts: Manifest, size: int | None = None, rotations: bool = False) -> Recipe:
    """The manifest's own recipe, changed by what was asked for."""
    return Recipe(facts.image.size if size is None else size, facts.image.resize, rotations)


def store_name(facts: Manifest, recipe: Recipe) -> str:
    """The name of the store that `recipe` makes: the dataset's, and what differs from its own."""
    size = "" if recipe.size == facts.image.size else f"-{recipe.size}px"
    return f"{facts.name}{size}{'-rotations' if recipe.rotations else ''}"


def prepare(
    dataset: str | Manifest,
    source: Path | None = None,
    *,
    size: int | None = None,
    rotations: bool = False,
    out: Path | None = None,
    home: Path | None = None,
    force: bool = False,
    shard_bytes: int = DEFAULT_SHARD_BYTES,
    progress: Progress | None = None,
) -> Store:
    """The store of `dataset`, made from the files in `source` unless it is there already.

    `dataset` is a shipped manifest's name, or a manifest; `size` is the edge in pixels; `rotations`
    adds every class turned by 90, 180 and 270 degrees as classes of their own; `out` is the store's
    folder (default: `stores/` under `home`); `force` replaces what is there; `progress` is told
    what is being done, how much of it is done, and how much there is. Without `source` the files
    are fetched. The store is written beside its final place and renamed into it: it exists whole or
    not at all. Raises EpisodesError for missing or damaged files, counts that differ from the
    manifest's, and a disk that cannot be written.
    """
    facts = manifest.load(dataset) if isinstance(dataset, str) else dataset
    recipe = recipe_of(facts, size, rotations)
    target = out or places.stores(home) / store_name(facts, recipe)
    if target.exists() and not force:
        return _already_prepared(target, facts, recipe)
    try:
        with exclusive(target):
            if target.exists():
                if not force:
                    return _already_prepared(target, facts, recipe)
                _refuse_other_folder(target)
            if source is None and not facts.generated:
                source = _fetched(facts, home, progress)
            with built_beside(target) as folder:
                _build(folder, target.name, facts, recipe, source, shard_bytes, progress)
            return Store(target)
    except OSError as error:
        raise EpisodesError(
            f"cannot write the store {target}: {error.strerror or error}: "
            "free or choose another place (--out, EPISODES_HOME)"
        ) from None


def _fetched(facts: Manifest, home: Path | None, progress: Progress | None) -> Path:
    folder = places.downloads(home) / facts.name
    for file in facts.files:
        shown = partial(progress, f"fetching {file.name} (bytes)") if progress else None
        download.fetch(file, folder, shown)
    return folder


def _refuse_other_folder(target: Path) -> None:
    if not target.is_dir() or not (target / "store.json").is_file():
        raise EpisodesError(f"{target} is there and is not a store: choose another --out")
    for path in target.iterdir():
        if path.name != "store.json" and path.suffix != ".h5":
            raise EpisodesError(
                f"{target} holds {path.name}, which is no part of a store: choose another --out"
            )


def _already_prepared(target: Path, facts: Manifest, recipe: Recipe) -> Store:
    _refuse_other_folder(target)
    store = Store(target)
    if store.info.dataset != facts.name or store.info.preprocessing != asdict(recipe):
        raise EpisodesError(
            f"{target} holds {store.name} made with {dict(store.info.preprocessing)}: "
            "choose another --out, or add --force to replace it"
        )
    if store.info.version != facts.version or store.info.splits != _splits(facts, recipe):
        raise EpisodesError(
            f"{target} was made from an earlier manifest of {facts.name}, whose splits differ: "
            "add --force to replace it"
        )
    return store


def _build(
    folder: Path,
    name: str,
    facts: Manifest,
    recipe: Recipe,
    source: Path | None,
    shard_bytes: int,
    progress: Progress | None,
) -> None:
    records = _counted(reader_of(facts)(facts, source), facts.images, progress)
    by_class = _read_classes(records, facts, recipe)
    class_names: list[str] = []
    class_sizes: list[int] = []
    digest = ContentDigest()
    shape = (recipe.size, recipe.size, facts.image.channels)
    writer = ShardWriter(folder, shape, shard_bytes)
    for class_name, ids, pixels in _rows(by_class, recipe):
        class_names.append(class_name)
        class_sizes.append(len(ids))
        digest.add_class(class_name, ids, pixels)
        writer.append(ids, pixels)
    content_digest = digest.hexdigest()
    info = StoreInfo(
        name=name,
        dataset=facts.name,
        version=facts.version,
        class_names=tuple(class_names),
        class_sizes=tuple(class_sizes),
        splits=_splits(facts, recipe),
        default_scheme=facts.default_scheme,
        image_shape=shape,
        preprocessing=asdict(recipe),
        training=facts.training,
        shards=writer.finish(),
        content_digest=content_digest,
        manifest_digest=facts.digest,
        licence=facts.licence,
        citation=facts.citation,
        verified=_verified(facts, recipe, content_digest),
        sources=tuple(_sources(facts, source)),
        tool_version=installed_version(),
    )
    write_info(folder, info)
    sync_file(folder / "store.json")


def _counted(
    records: Iterable[Record], expected: int, progress: Progress | None
) -> Iterator[Record]:
    for count, record in enumerate(records, start=1):
        yield record
        if progress and (count % 256 == 0 or count == expected):
            progress("reading images", count, expected)


def _read_classes(
    records: Iterable[Record], facts: Manifest, recipe: Recipe
) -> dict[str, dict[str, np.ndarray]]:
    classes: dict[str, dict[str, np.ndarray]] = {name: {} for name in facts.class_names}
    for record in records:
        if record.class_name not in classes:
            raise EpisodesError(
                f"the class {record.class_name!r} is not in {facts.name}.classes.tsv: "
                f"expected the files of {facts.homepage}"
            )
        pixels = images.resize(record.pixels, recipe.size, recipe.resize)
        classes[record.class_name][record.image_id] = pixels
    found = sum(map(len, classes.values()))
    if found != facts.images:
        raise EpisodesError(f"{facts.name} has {found} images; expected {facts.images}")
    for name, entries in classes.items():
        if facts.images_per_class not in (None, len(entries)):
            raise EpisodesError(
                f"the class {name!r} has {len(entries)} images; expected {facts.images_per_class}"
            )
    return classes


def _rows(
    by_class: dict[str, dict[str, np.ndarray]], recipe: Recipe
) -> Iterator[tuple[str, list[str], np.ndarray]]:
    turns = range(QUARTER_TURNS) if recipe.rotations else range(1)
    for name, entries in by_class.items():
        ids = sorted(entries, key=natural_order)
        upright = np.stack([entries[image_id] for image_id in ids])[..., np.newaxis]
        for turn in turns:
            turned = np.ascontiguousarray(np.rot90(upright, turn, axes=(1, 2)))
            suffix = f"/rot{90 * turn:03d}" if recipe.rotations else ""
            yield name + suffix, ids, turned


def _splits(facts: Manifest, recipe: Recipe) -> dict[str, dict[str, tuple[int, ...]]]:
    copies = QUARTER_TURNS if recipe.rotations else 1
    return {
        scheme.name: {
            part: tuple(copies * index + turn for index in classes for turn in range(copies))
            for part, classes in scheme.classes.items()
        }
        for scheme in facts.schemes.values()
    }


def _verified(facts: Manifest, recipe: Recipe, digest: str) -> str:
    witnessed = [
        witness.digest
        for witness in facts.witnesses
        if (witness.size, witness.resize, witness.rotations)
        == (recipe.size, recipe.resize, recipe.rotations)
    ]
    if digest in witnessed:
        return "names, counts and pixels"
    if witnessed:
        return f"names and counts; the pixels differ from the witnessed digest {witnessed[0]}"
    return "names and counts; no pixel digest was witnessed for this preparation"


def _sources(facts: Manifest, source: Path | None) -> Iterator[dict[str, object]]:
    for file in facts.files:
        path = source / file.name if source else Path(file.name)
        sha256 = file_sha256(path) if path.is_file() else None
        yield {"file": file.name, "sha256": sha256, "original": sha256 == file.sha256}


def natural_order(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """A sort key by which "img2" comes before "img10"."""
    parts = [
        (0, int(part), "") if part.isdecimal() else (1, 0, part)
        for part in re.split(r"([0-9]+)", name)
    ]
    return parts, name
