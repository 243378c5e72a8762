"""Meta-Dataset: every source that can be had as a store of its own, all of one size."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from episodes import manifest, readers
from episodes.errors import EpisodesError, UsageError, unknown_name
from episodes.manifest import Manifest, MetaDataset
from episodes.meta_dataset.conversion import conversion_folder
from episodes.prepare import in_place, prepare, store_name
from episodes.prepare.building import Form
from episodes.recipe import NO_CROP, Recipe, recipe_for
from episodes.store import Store
from episodes.store import open as open_store

SIZE = 84
RGB = 3
# As Meta-Dataset lists its sources: eight to train on, two for tests alone, and three that CNAPs
# added to the tests.
ORDER = (
    *("ilsvrc_2012", "omniglot", "aircraft", "cu_birds", "dtd", "quickdraw", "fungi", "vgg_flower"),
    *("traffic_sign", "mscoco"),
    *("mnist", "cifar10", "cifar100"),
)


@dataclass(frozen=True)
class Outcome:
    """What became of a source: its store, or else in one line why there is none."""

    dataset: str
    store: Store | None = None
    problem: str = ""


def sources(chosen: Sequence[str] = ()) -> list[Manifest]:
    """The manifests of the sources `chosen` (default: all), in Meta-Dataset's order.

    A source may go by the dataset's name or by Meta-Dataset's. Raises UsageError, with the nearest
    match, for what is none of them.
    """
    loaded = (manifest.load(name) for name in manifest.names())
    there = {facts.meta_dataset.name: facts for facts in loaded if facts.meta_dataset}
    by_name = {name: there[name] for name in ORDER if name in there}
    datasets = {facts.name: name for name, facts in by_name.items()}
    for name in chosen:
        if name not in by_name and name not in datasets:
            raise unknown_name("source of Meta-Dataset", name, datasets)
    wanted = {datasets.get(name, name) for name in chosen} or set(by_name)
    return [facts for name, facts in by_name.items() if name in wanted]


def prepare_sources(
    chosen: Sequence[str] = (),
    folder: Path | None = None,
    *,
    size: int = SIZE,
    container: str | None = None,
    encoding: str = "raw",
    **options: Any,
) -> Iterator[Outcome]:
    """Prepare the sources `chosen` (default: all), one after the other, whatever becomes of others.

    The files of each, or a finished conversion of it, are looked for in `folder`, and in its folder
    there of the dataset's name or of Meta-Dataset's, and fetched where they are not there. Images
    are cut and left out as Meta-Dataset does it, and resized to `size` pixels, but for those that
    are kept as they are: Quick, Draw!'s arrays, and all where `encoding` is "original". The other
    `options` are those of `episodes.prepare.prepare`. Raises UsageError for what no source could be
    prepared with.
    """
    Recipe(size, "bilinear")
    Form(container or "hdf5", encoding)
    if folder is not None and not folder.is_dir():
        raise UsageError(f"{folder} is not a folder; expected the one that holds the files")
    for facts in sources(chosen):
        is_converted = folder is not None and conversion_folder(folder, facts) is not None
        role = _role(facts)
        if is_converted:  # whoever converted the images has cut them and left some out
            role = replace(role, crop=NO_CROP, drop_twins=False)
        is_in_place = _is_in_place(facts, container) and not is_converted
        try:
            store = prepare(
                facts,
                folder if is_converted else _folder_of(facts, folder),
                size=None if is_in_place or encoding == "original" else size,
                crop=role.crop,
                drop_twins=role.drop_twins,
                container=container,
                encoding=encoding,
                command=f"episodes prepare meta-dataset --sources {facts.name}",
                **options,
            )
        except EpisodesError as error:
            yield Outcome(facts.name, problem=str(error))
        else:
            yield Outcome(facts.name, store)


def open_sources(
    chosen: Sequence[str] = (), *, size: int = SIZE, home: Path | None = None
) -> list[Store]:
    """The stores of the sources `chosen` (default: all) as `prepare_sources` makes them by default.

    All with images of [size, size, 3], so that one stream can have them. Raises UsageError for one
    that is not prepared.
    """
    stores = []
    for facts in sources(chosen):
        role = _role(facts)
        recipe = recipe_for(
            facts,
            size=None if _is_in_place(facts) else size,
            crop=role.crop,
            drop_twins=role.drop_twins,
        )
        form = Form(in_place.default_container(facts, recipe, "raw"))
        try:
            store = open_store(store_name(facts, recipe, form), home=home)
        except UsageError as error:
            raise UsageError(
                f"{facts.name} is not prepared at {size} pixels as Meta-Dataset has it: type "
                f"`episodes prepare meta-dataset --sources {facts.name} --size {size}` ({error})"
            ) from None
        stores.append(store.at_size(size, channels=RGB))
    return stores


def _role(facts: Manifest) -> MetaDataset:
    assert facts.meta_dataset is not None
    return facts.meta_dataset


def _is_in_place(facts: Manifest, container: str | None = None) -> bool:
    """Whether the source's own arrays are used, at their own size."""
    return container in (None, in_place.CONTAINER) and in_place.has_arrays(facts)


def _folder_of(facts: Manifest, given: Path | None) -> Path | None:
    """The folder in or under `given` that has files of the dataset, whole or else in part."""
    if given is None:
        return None
    role = _role(facts)
    shared = (source.downloads for source in facts.sources if source.downloads)
    # Their own folders first: such a name may also be that of a folder that an archive extracts to.
    names = dict.fromkeys((facts.name, role.name, *shared))
    places = [place for name in names if (place := given / name).is_dir()] + [given]
    for place in places:
        if any(readers.is_there(source, place, role.crop) for source in facts.sources):
            return place
    for place in places:
        files = (file for source in facts.sources for file in source.files_for(role.crop))
        if any(readers.find(file, place) for file in files):
            return place
    return None
