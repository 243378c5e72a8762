"""Pushing: a store into the folder that a URL names, store.json last, so that half is no store."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from episodes.download.transfer import Retries
from episodes.errors import EpisodesError, UsageError
from episodes.exchange.files import files_of
from episodes.exchange.remote import RemoteFolder
from episodes.exchange.urls import WEB, file_system, protocol, refuse_offline, without_slash
from episodes.progress import Progress, silent
from episodes.store import Store
from episodes.store.layout import CARD_NAME, FILE_NAME, belongs_to_store

LOCAL = ("", "file", "local")
MARK = "store.json.pushing"


@dataclass(frozen=True)
class Pushed:
    """Where a store was pushed, and how many bytes went; 0 where it was there already."""

    url: str
    bytes: int


def push(
    store: Store,
    url: str,
    *,
    i_have_rights: bool = False,
    force: bool = False,
    progress: Progress | None = None,
    retries: Retries | None = None,
) -> Pushed:
    """Copy `store`, once it is verified, into the folder `url` of any fsspec file system.

    An interrupted push of the same store goes on with the first shard that is not there whole;
    `force` replaces the store that is there, or what is left of one. Raises UsageError where the
    images may not be redistributed, unless `i_have_rights`, and where `url` cannot be written to or
    holds files that are not this store's; EpisodesError for a damaged store, another store in its
    place, and what the file system refuses.
    """
    url = without_slash(url)
    _refuse_place(store, url, i_have_rights)
    store.verify()
    description = (store.path / FILE_NAME).read_bytes()
    remote = RemoteFolder(url, retries or Retries(3, 1.0))
    begun, complete = _state(remote, store, description, force)
    files = files_of(store.info)
    missing = [file for file in files if not (begun and remote.size(file.file) == file.bytes)]
    whole = sum(file.bytes for file in files)
    done = whole - sum(file.bytes for file in missing)
    tell = progress or silent
    for file in missing:

        def told(sent: int, before: int = done) -> None:
            tell(f"pushing {store.name}", before + sent, whole, "bytes")

        remote.put(store.path / file.file, file.file, told)
        done += file.bytes
    if not complete:
        if (store.path / CARD_NAME).is_file():
            remote.write(CARD_NAME, (store.path / CARD_NAME).read_bytes())
        remote.write(FILE_NAME, description)
    remote.remove(MARK)
    return Pushed(url, sum(file.bytes for file in missing))


def _refuse_place(store: Store, url: str, i_have_rights: bool) -> None:
    info = store.info
    if not info.redistribution and not i_have_rights:
        raise UsageError(
            f"{info.dataset} is not marked as free to redistribute (licence: {info.licence}): "
            f"if you hold the rights to copy it to {url}, add --i-have-rights"
        )
    if protocol(url) in WEB:
        raise UsageError(
            f"{url} can be read and not written: push to a folder or an object store "
            "(file://, s3://, gs://, hf://)"
        )
    refuse_offline(url)
    if protocol(url) in LOCAL:
        target = Path(file_system(url)[1])
        if target.exists() and target.samefile(store.path):
            raise UsageError(f"{url} is the store's own folder: push to another place")


def _state(
    remote: RemoteFolder, store: Store, description: bytes, force: bool
) -> tuple[bool, bool]:
    """Whether the push of this store was begun, and whether store.json is there already.

    A mark tells of which store the shards there are: their sizes and names do not. Without one,
    and without a store, they may be anybody's. `force` removes them, and what is there of another
    store; what has another name than a store's files is never removed.
    """
    mark = hashlib.sha256(description).hexdigest().encode()
    names = remote.names()
    if others := [n for n in names if n != MARK and not belongs_to_store(Path(n))]:
        raise UsageError(
            f"{remote.url} holds {min(others)}, which is no part of a store: "
            f"push into a folder of its own, such as {remote.url}/{store.name}"
        )
    found = remote.read(FILE_NAME)
    if found == description and not force:
        return True, True
    if description.startswith(found or b"") and found != description and remote.read(MARK) == mark:
        return True, False
    if found is not None and MARK not in names and b"episodes-store/" not in found:
        raise UsageError(
            f"{remote.url} holds a {FILE_NAME} that describes no store of episodes: "
            f"push into a folder of its own, such as {remote.url}/{store.name}"
        )
    if found is not None and not force:
        raise EpisodesError(
            f"{remote.url} holds another store: push to another URL, or add --force to replace it"
        )
    if not force and (files := sorted(set(names) - {MARK})):
        raise UsageError(
            f"{remote.url} holds {files[0]} and no store: push to another URL, such as "
            f"{remote.url}/{store.name}, or add --force to remove the {len(files)} file(s) there"
        )
    # The description goes first: what is half replaced is no store either.
    for name in sorted(names, key=lambda name: name != FILE_NAME):
        remote.remove(name)
    remote.write(MARK, mark)
    return False, False
