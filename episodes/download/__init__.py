"""Fetching a dataset's files: ordered mirrors, resumed after interruptions, checked before use.

Proxies and certificates come from the environment, as `urllib` and `ssl` read them.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from episodes.download import drive
from episodes.download.faults import MirrorFailed
from episodes.download.transfer import Retries, Transfer
from episodes.errors import EpisodesError, UsageError
from episodes.manifest import Source, SourceFile
from episodes.progress import Progress, amount

__all__ = ["Retries", "fetch", "fetch_source", "is_offline", "missing", "page_of"]

FETCHABLE = ("open", "gdrive")
MOST_NAMED = 5


def is_offline() -> bool:
    """Whether EPISODES_OFFLINE forbids the network."""
    return os.environ.get("EPISODES_OFFLINE", "").lower() not in ("", "0", "false", "no")


def missing(source: Source, folder: Path) -> tuple[SourceFile, ...]:
    """The files of `source` that `folder` has neither whole nor unpacked."""
    return tuple(
        file
        for file in source.files
        if not _is_there(file, folder)
        and not (file.extracted and (folder / file.extracted).is_dir())
    )


def page_of(file: SourceFile) -> str:
    """The address to open in a browser for `file`; its name where there is none."""
    if not file.urls:
        return file.name
    url = file.urls[0]
    return drive.page_of(url) if url.startswith(drive.SCHEME) else url


def fetch_source(
    dataset: str,
    source: Source,
    folder: Path,
    progress: Progress | None = None,
    retries: Retries | None = None,
    offline: bool = False,
    command: str | None = None,
) -> None:
    """Fetch into `folder` the files of `source` that are not there, as file or as extracted folder.

    Raises UsageError, before anything is fetched, offline and where one of the missing files cannot
    be fetched without an account: it names them all and the `command` to type once they are there
    (default: to prepare `dataset`).
    """
    absent = missing(source, folder)
    if not absent:
        return
    command = f"{command or f'episodes prepare {dataset}'} --from FOLDER"
    if offline or is_offline():
        raise UsageError(
            f"{_offline()}, and {dataset} needs {_listed(absent, folder, with_urls=True)}: "
            f"put what is missing into {folder}, or type: {command}"
        )
    by_hand = [file for file in absent if file.access not in FETCHABLE]
    if by_hand:
        raise UsageError(_by_hand(dataset, source, absent, by_hand, folder, command))
    for file in absent:
        _fetch(file, folder, progress, retries, offline, f"type: {command}")


def fetch(
    file: SourceFile,
    folder: Path,
    progress: Progress | None = None,
    retries: Retries | None = None,
    offline: bool = False,
) -> Path:
    """The path of `file` in `folder`, fetched unless it is there already.

    What arrives is kept in NAME.part and goes on from there after an interruption, in this call or
    in a later one; it becomes NAME only when it fits what the manifest knows of it: size, SHA-256,
    MD5, or else the kind of file that its name promises. Raises UsageError offline and where the
    file cannot be fetched without an account, EpisodesError naming what each mirror answered where
    none has it, and where the disk cannot be written.
    """
    return _fetch(file, folder, progress, retries, offline, "--from FOLDER")


def _fetch(
    file: SourceFile,
    folder: Path,
    progress: Progress | None,
    retries: Retries | None,
    offline: bool,
    command: str,
) -> Path:
    from filelock import FileLock

    path = folder / file.name
    if _is_there(file, folder):
        return path
    by_hand = f"fetch {_labelled(page_of(file), _size(file))} by hand, then {command}"
    if offline or is_offline():
        raise UsageError(f"{_offline()}, and {path} is not there: go online, or {by_hand}")
    if file.access not in FETCHABLE:
        raise UsageError(f"{file.name} cannot be fetched without an account: {by_hand}")
    failures = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f".{file.name}.lock"):
            if _is_there(file, folder):
                return path
            for url in file.urls:
                try:
                    Transfer(url, file, folder, progress, retries or Retries()).complete()
                    return path
                except MirrorFailed as failure:
                    failures.append(f"{url}: {failure}")
    except OSError as error:
        raise EpisodesError(
            f"cannot write {path}.part: {error.strerror or error}: "
            "make room, or choose another place (EPISODES_HOME)"
        ) from None
    raise EpisodesError(f"no mirror has {file.name}: {'; '.join(failures)}; {by_hand}")


def _is_there(file: SourceFile, folder: Path) -> bool:
    path = folder / file.name
    return path.is_file() and file.bytes in (None, path.stat().st_size)


def _offline() -> str:
    return "offline (EPISODES_OFFLINE)" if is_offline() else "offline"


def _by_hand(
    dataset: str,
    source: Source,
    absent: tuple[SourceFile, ...],
    by_hand: list[SourceFile],
    folder: Path,
    command: str,
) -> str:
    others = [file for file in absent if file not in by_hand]
    and_others = f", and {_listed(others, folder, with_urls=True)}" if others else ""
    account = any(file.access == "login" for file in by_hand)
    why = "which cannot be fetched without an account" if account else "to be fetched by hand"
    pages = dict.fromkeys(page_of(file) for file in by_hand if file.urls)
    how = source.instructions.rstrip(". ") or f"download {'them' if by_hand[1:] else 'it'}"
    unnamed = [page for page in pages if page not in how]
    where = f" (from {', '.join(unnamed)})" if unnamed else ""
    return (
        f"{dataset} needs {_listed(by_hand, folder)}, {why}{and_others}: "
        f"{how}{where}, then type: {command}"
    )


def _listed(files: Sequence[SourceFile], folder: Path, with_urls: bool = False) -> str:
    named = files if len(files) <= MOST_NAMED else files[: MOST_NAMED - 2]
    described = []
    for file in named:
        path = folder / file.name
        found = f"{path} has {amount(path.stat().st_size, 'bytes')}" if path.is_file() else ""
        page = page_of(file) if with_urls and file.urls else ""
        described.append(_labelled(file.name, _size(file), page, found))
    if others := files[len(named) :]:
        size = sum(file.bytes or 0 for file in others)
        known = amount(size, "bytes") if all(file.bytes for file in others) else ""
        described.append(_labelled(f"{len(others)} more files", known))
    return " and ".join(filter(None, (", ".join(described[:-1]), described[-1])))


def _labelled(name: str, *labels: str) -> str:
    known = ", ".join(filter(None, labels))
    return f"{name} ({known})" if known else name


def _size(file: SourceFile) -> str:
    return "" if file.bytes is None else amount(file.bytes, "bytes")
