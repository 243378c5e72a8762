"""From a collection of a user's own images to a store."""

from collections.abc import Sequence
from pathlib import Path

from episodes import places
from episodes.errors import EpisodesError, UsageError
from episodes.manifest import Manifest
from episodes.own.collection import Collection
from episodes.own.facts import NO_LICENCE, check_name, manifest_of, what_changed
from episodes.own.splits import Request, split_classes
from episodes.prepare import Input, prepare_input, store_name, usable_cores
from episodes.prepare.building import Form
from episodes.prepare.gathering import Progress
from episodes.recipe import recipe_for
from episodes.store import Store
from episodes.store.layout import FILE_NAME, read_info
from episodes.store.shards import DEFAULT_SHARD_BYTES


def prepare_own(
    collection: Collection,
    *,
    name: str,
    train: Sequence[str] = (),
    val: Sequence[str] = (),
    test: Sequence[str] = (),
    fractions: Sequence[float | str] | None = None,
    split_seed: int | None = None,
    split_file: Path | None = None,
    size: int | None = None,
    resize: str | None = None,
    grey: bool = False,
    rotations: bool = False,
    container: str = "hdf5",
    encoding: str = "raw",
    skip_corrupt: bool = False,
    licence: str = NO_LICENCE,
    out: Path | None = None,
    home: Path | None = None,
    force: bool = False,
    shard_bytes: int = DEFAULT_SHARD_BYTES,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Store:
    """The store of `collection` as the dataset `name`, made unless it is there already.

    The classes are split by the lists `train`, `val` and `test`, or by `fractions` and
    `split_seed`, or by `split_file`, or as they came, or by 0.64, 0.16, 0.2 with seed 1; `grey`
    keeps one channel; the rest is as for `episodes.prepare.prepare`. Raises UsageError for a name
    or split that cannot be, and EpisodesError where the store was made of other images, unless
    `force`.
    """
    check_name(name)
    request = Request({"train": train, "val": val, "test": test}, fractions, split_seed, split_file)
    split = split_classes(request, collection)
    facts = manifest_of(collection, name, split, 1 if grey else collection.channels, licence)
    if collection.size is None and size is None and encoding != "original":
        raise UsageError(
            "the images have no one square size to keep: give size=84 or the like, "
            'or encoding="original" to keep each as it is'
        )
    recipe = recipe_for(
        facts,
        size=size,
        resize=resize,
        rotations=rotations,
        own_size=encoding == "original",
    )
    form = Form(container, encoding, shard_bytes, usable_cores() if threads is None else threads)
    target = Path(out) if out else places.stores(home) / store_name(facts, recipe, form)
    if not force:
        _refuse_changed(target, facts, collection)
    store = prepare_input(
        facts,
        recipe,
        form,
        lambda: Input(collection.kind, collection.records),
        skip_corrupt=skip_corrupt,
        out=target,
        home=home,
        force=force,
        progress=progress,
    )
    # Once more, because another process may have made it meanwhile.
    _refuse_changed(store.path, facts, collection)
    return store


def _refuse_changed(target: Path, facts: Manifest, collection: Collection) -> None:
    if not (target / FILE_NAME).is_file():
        return
    info = read_info(target)
    if info.dataset == facts.name and info.manifest_digest != facts.digest:
        raise EpisodesError(
            f"{collection.origin} is not what {target} was made of ({what_changed(info, facts)}): "
            "add --force to replace it, or choose another --name"
        )
