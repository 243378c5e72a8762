"""Checking an export: against its own hashes, and against the stores that it was made from."""

import hashlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from episodes.archive import file_sha256
from episodes.errors import EpisodesError, UsageError
from episodes.export.description import PLAN, ExportInfo, read_info
from episodes.export.naming import Names
from episodes.store import Store
from episodes.stream import Stream


def check(folder: str | Path, stores: Store | Sequence[Store] | None = None) -> ExportInfo:
    """Compare every file of the export in `folder` with its recorded size and SHA-256.

    The fingerprint is recomputed from the names in a plan, and, where `stores` are given, from the
    stream of them that episodes.json describes. Raises EpisodesError for what differs, UsageError
    where the stores are not those of the export.
    """
    from episodes.export.plan import planned_episodes

    folder = Path(folder)
    info = read_info(folder)
    check_files(folder, info)
    if info.container == PLAN:
        names = (episode.names for episode in planned_episodes(folder, info.count))
        _compare(f"the plan in {folder}", fingerprint(info, names), info)
    if stores is not None:
        whole = stream_of(info, stores)
        _compare(f"{whole!r}", whole.fingerprint(info.count), info)
    return info


def check_files(folder: Path, info: ExportInfo) -> None:
    """Raises EpisodesError naming the first file that is not as episodes.json says."""
    for file in info.files:
        path = folder / file.file
        try:
            size = path.stat().st_size
            found = file_sha256(path) if size == file.bytes else ""
        except OSError as error:
            raise EpisodesError(f"cannot read {path}: {error.strerror}") from None
        if size != file.bytes:
            raise EpisodesError(f"{path} has {size} bytes; episodes.json says {file.bytes}")
        if found != file.sha256:
            raise EpisodesError(f"{path} is damaged: its SHA-256 is not that of episodes.json")


def fingerprint(info: ExportInfo, episodes: Iterable[Names]) -> str:
    """What `Stream.fingerprint` gives, from what an export says of its stream and its episodes."""
    digests = [store["content_digest"] for store in info.stores]
    spec = info.episode_spec.canonical()
    header = (info.plan_version, *digests, info.split, spec, info.seed, info.count)
    sha256 = hashlib.sha256("\n".join(map(str, header)).encode())
    for episode in episodes:
        ids = (*episode.class_names, *episode.support_ids, *episode.query_ids)
        line = "\t".join((str(episode.source), *ids))
        sha256.update(f"\n{line}".encode())
    return sha256.hexdigest()


def stream_of(info: ExportInfo, stores: Store | Sequence[Store]) -> Stream:
    """The stream that an export is of, from stores of the same content.

    Raises UsageError where theirs is another.
    """
    chosen = stores_for(info, stores)
    for store, facts in zip(chosen, info.stores, strict=True):
        if store.digest != facts["content_digest"]:
            raise UsageError(
                f"{store.name} has other content (digest {store.digest[:12]}…) than the "
                f"{facts['name']} that the export is of ({facts['content_digest'][:12]}…)"
            )
    # Where the stores' schemes differ each is named, and what was asked for was the bare part.
    split = info.split if info.split.count(".") == 1 else info.split.rpartition(".")[2]
    return Stream(chosen, split, info.episode_spec, info.seed)


def stores_for(info: ExportInfo, stores: Store | Sequence[Store]) -> list[Store]:
    """As many stores as the export is of, as views where their images are of other sizes.

    Raises UsageError for another number, and for raw pixels of another size.
    """
    given = [stores] if isinstance(stores, Store) else list(stores)
    if len(given) != len(info.stores):
        names = ", ".join(str(store["name"]) for store in info.stores)
        raise UsageError(f"{len(given)} stores given; the export is of {len(info.stores)}: {names}")
    return [_at_size_of(info, store) for store in given]


def stores_at_hand(info: ExportInfo) -> tuple[list[Store], str]:
    """The prepared stores that an export is of; if they are not all there, none, and why."""
    from episodes import open, places

    prepared = places.prepared()
    found: list[Store] = []
    for facts in info.stores:
        if facts["name"] not in prepared:
            return [], f"{facts['name']} is not prepared here"
        try:
            found.append(_at_size_of(info, open(facts["name"])))
        except UsageError:
            return [], f"the {facts['name']} prepared here has images of another size"
        if found[-1].digest != facts["content_digest"]:
            return [], f"the {facts['name']} prepared here has other content"
    return found, ""


def _at_size_of(info: ExportInfo, store: Store) -> Store:
    """`store`, or its view with images of the export's size."""
    with suppress(UsageError):  # the images of a store that is no view may differ in size
        if store.image_shape == info.image_shape:
            return store
    return store.at_size(info.image_shape[0], channels=info.image_shape[2])


def _compare(what: str, found: str, info: ExportInfo) -> None:
    if found != info.fingerprint:
        raise EpisodesError(
            f"the fingerprint of {what} is {found}; episodes.json says {info.fingerprint}"
        )
