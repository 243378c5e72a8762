"""Pulling: a store from a URL's folder, checked while it is fetched, there whole or not at all."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from episodes import places
from episodes.archive import file_sha256
from episodes.download.faults import MirrorFailed
from episodes.download.transfer import Retries
from episodes.errors import EpisodesError, UsageError
from episodes.exchange.deliveries import Deliver, deliveries
from episodes.exchange.files import StoreFile, files_of
from episodes.exchange.urls import refuse_offline, without_slash
from episodes.manifest import SourceFile
from episodes.progress import Progress
from episodes.store import Store
from episodes.store.layout import (
    CARD_NAME,
    FILE_NAME,
    StoreInfo,
    belongs_to_store,
    read_info,
    write_info,
)
from episodes.store.placing import built_beside, exclusive


@dataclass(frozen=True)
class Pulled:
    """The store that was pulled, and how many bytes came; 0 where it was there already."""

    store: Store
    bytes: int


def pull(
    url: str,
    *,
    name: str | None = None,
    out: Path | None = None,
    home: Path | None = None,
    force: bool = False,
    progress: Progress | None = None,
    retries: Retries | None = None,
) -> Pulled:
    """The store in the folder `url`, every file compared with the SHA-256 that store.json names.

    It goes to `out`, or by `name` (default: its own) to the stores under `home`. What has come when
    a pull is interrupted is kept, and the next one goes on from there. `force` replaces another
    store. Raises EpisodesError where `url` has no whole store, the target is another one, or the
    disk cannot be written; UsageError for a name or URL that cannot be.
    """
    if name is not None and out is not None:
        raise UsageError("--out says where the store goes, name included: leave --name out")
    url = without_slash(url)
    refuse_offline(url)
    deliver = deliveries(url, retries or Retries())
    info, card = _description(url, deliver)
    target = out or places.stores(home) / _checked_name(info.name if name is None else name, url)
    info = replace(info, name=target.name)
    try:
        with exclusive(target):
            if _is_there(target, info, force):
                return Pulled(Store(target), 0)
            came = _fetch(url, deliver, info, card, target, progress)
        return Pulled(Store(target), came)
    except OSError as error:
        raise EpisodesError(
            f"cannot write the store {target}: {error.strerror or error}: "
            "free or choose another place (--out, EPISODES_HOME)"
        ) from None


def _description(url: str, deliver: Deliver) -> tuple[StoreInfo, str]:
    """store.json and the text of card.md ("" where there is none)."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with _named_by(f"{url} holds no store: {FILE_NAME}"):
            deliver(SourceFile(FILE_NAME, "open", (url,)), folder, None)
        try:
            info = read_info(folder)
        except EpisodesError as error:
            # Its advice is to make that store again, which is for the one who pushed it.
            found = str(error).replace(str(folder), url).partition(": prepare it again")[0]
            raise EpisodesError(f"{found}: ask for it to be pushed again") from None
        try:
            deliver(SourceFile(CARD_NAME, "open", (url,)), folder, None)
        except MirrorFailed:
            return info, ""
        return info, (folder / CARD_NAME).read_text(encoding="utf-8", errors="replace")


def _checked_name(name: str, url: str) -> str:
    if not name or not name.isprintable() or Path(name).name != name or name.startswith("."):
        raise UsageError(f"{name!r} is no name for the store of {url}: give another --name")
    return name


def _is_there(target: Path, info: StoreInfo, force: bool) -> bool:
    """Whether `target` is that store; raises EpisodesError for what is not to be replaced."""
    if not target.exists():
        return False
    if not target.is_dir() or not (target / FILE_NAME).is_file():
        raise EpisodesError(f"{target} is there and is not a store: choose another --out")
    if others := [path.name for path in target.iterdir() if not belongs_to_store(path)]:
        raise EpisodesError(
            f"{target} holds {min(others)}, which is no part of a store: choose another --out"
        )
    if force:
        return False
    if replace(read_info(target), name=info.name) == info:
        return True
    raise EpisodesError(
        f"{target} holds another store: choose another --name or --out, "
        "or add --force to replace it"
    )


def _fetch(
    url: str,
    deliver: Deliver,
    info: StoreInfo,
    card: str,
    target: Path,
    progress: Progress | None,
) -> int:
    """Fetch what has not come yet beside `target`, then move it there; how many bytes came."""
    waiting = target.parent / f".{target.name}.pull"
    waiting.mkdir(exist_ok=True)
    files = files_of(info)
    whole = sum(file.bytes for file in files)
    came = done = 0
    for file in files:
        if not _is_whole(waiting / file.file, file):
            advice = ": pull again, or ask for the store to be pushed again"
            with _named_by(f"{url}/{file.file}", advice):
                expected = SourceFile(file.file, "open", (url,), file.bytes, file.sha256)
                deliver(expected, waiting, _of_all(progress, f"pulling {info.name}", done, whole))
            came += file.bytes
        done += file.bytes
    with built_beside(target) as folder:
        for file in files:
            (waiting / file.file).rename(folder / file.file)
        if card:
            (folder / CARD_NAME).write_text(card, encoding="utf-8")
        write_info(folder, info)
        Store(folder)
    shutil.rmtree(waiting)
    return came


def _is_whole(path: Path, file: StoreFile) -> bool:
    return path.is_file() and path.stat().st_size == file.bytes and file_sha256(path) == file.sha256


def _of_all(progress: Progress | None, task: str, before: int, whole: int) -> Progress | None:
    """`progress` of one file as that of all of them, of which `before` bytes have come."""
    if progress is None:
        return None

    def tell(what: str, done: int, total: int, unit: str = "") -> None:
        if unit == "bytes":
            progress(task, before + done, whole, unit)
        else:
            progress(what, done, total, unit)

    return tell


@contextmanager
def _named_by(where: str, advice: str = "") -> Iterator[None]:
    """Turns a failed transfer into an error about `where`, ending in `advice`."""
    try:
        yield
    except MirrorFailed as failure:
        raise EpisodesError(f"{where}: {failure}{advice}") from None
