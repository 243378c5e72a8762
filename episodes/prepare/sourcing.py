"""Where a preparation's files come from: the folder that was given, or what is fetched."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from episodes import download, places, readers
from episodes.download.checks import checksums
from episodes.errors import EpisodesError, UsageError, some_of, unknown_name
from episodes.manifest import Manifest, Source, SourceFile
from episodes.progress import Progress

LARGEST_HASHED_FILE = 8 << 30


def find_source(
    facts: Manifest, given: Path, variant: str | None, crop: str, partial: bool = False
) -> tuple[Source, Path]:
    """The source whose files are in the folder `given`, and that folder.

    `given` may also be one of the files, or the folder that one extracts to; `variant` names the
    source to take; with `partial` some of its files will do. Raises EpisodesError that says what
    is missing.
    """
    if facts.generated:
        raise UsageError(f"{facts.name} is generated, not read from {given}: leave out --from")
    candidates = [named_source(facts, variant)] if variant else list(facts.sources)
    given = Path(os.path.abspath(given))
    folder = _folder_around(given, candidates)
    if not folder.is_dir():
        raise UsageError(
            f"{given} is not there; expected the folder that holds {_wanted(candidates)}"
        )
    for source in candidates:
        if readers.is_there(source, folder, crop):
            return source, folder
    begun = [
        source
        for source in candidates
        if any(readers.find(file, folder) for file in source.files_for(crop))
    ]
    if partial and begun:
        return _only_found(begun[0], folder), folder
    for source in begun if begun or len(candidates) > 1 else candidates:
        for file in source.files_for(crop):
            readers.locate(file, folder)
    raise EpisodesError(f"{given} holds no files of {facts.name}; expected {_wanted(candidates)}")


def _only_found(source: Source, folder: Path) -> Source:
    """`source` without the files that `folder` lacks."""
    files = tuple(file for file in source.files if readers.find(file, folder))
    return replace(source, files=files)


def fetched_source(
    facts: Manifest,
    variant: str | None,
    crop: str,
    home: Path | None,
    offline: bool,
    progress: Progress | None,
    command: str | None = None,
) -> tuple[Source, Path]:
    """A source whose files are under `downloads/`, after fetching what is not there yet."""
    candidates = [named_source(facts, variant)] if variant else list(facts.sources)
    for source in candidates:
        folder = _downloads(facts, source, home)
        needed = replace(source, files=source.files_for(crop))
        if (
            source.files
            and folder.is_dir()
            and readers.is_there(source, folder, crop)
            and (readers.has_no_fixed_names(source) or not download.missing(needed, folder))
        ):
            return source, folder
    source = named_source(facts, variant) if variant else facts.fetched_source
    folder = _downloads(facts, source, home)
    needed = replace(source, files=source.files_for(crop))
    download.fetch_source(facts.name, needed, folder, progress, offline=offline, command=command)
    return source, folder


def named_source(facts: Manifest, name: str) -> Source:
    """The source of that name; raises UsageError with the nearest match."""
    for source in facts.sources:
        if source.name == name:
            return source
    raise unknown_name(f"source of {facts.name}", name, [source.name for source in facts.sources])


def described_files(source: Source, folder: Path, crop: str) -> Iterator[dict[str, Any]]:
    """For store.json: the files to be read, their hashes, and whether they are the originals.

    `original` is None where nothing was published to compare with, or hashing would take minutes.
    Raises EpisodesError for a file of the original's size with another hash: it is damaged.
    """
    for file in source.files_for(crop):
        path = folder / file.name
        sums = {}
        if path.is_file() and path.stat().st_size <= LARGEST_HASHED_FILE:
            sums = checksums(path, ("sha256", *(["md5"] if file.md5 else [])))
        original = _is_original(file, path, sums)
        if original is False and path.is_file() and path.stat().st_size == file.bytes:
            raise EpisodesError(
                f"{path} is damaged: it has the original's size, but the SHA-256 "
                f"{sums['sha256'][:12]}…; expected {str(file.sha256 or file.md5)[:12]}…: "
                "fetch it again"
            )
        yield {"file": file.name, "sha256": sums.get("sha256"), "original": original}


def advice(source: Source, crop: str) -> str:
    """What to do where the source's files do not hold what they should."""
    files = source.files_for(crop)
    pages = dict.fromkeys(download.page_of(file) for file in files)
    return f"get {some_of(file.name for file in files)} whole ({some_of(pages)})"


def _is_original(file: SourceFile, path: Path, sums: Mapping[str, str]) -> bool | None:
    if not path.is_file():
        return False
    if file.bytes is not None and path.stat().st_size != file.bytes:
        return False
    compared = [
        sums[name] == published
        for name, published in (("sha256", file.sha256), ("md5", file.md5))
        if published is not None and name in sums
    ]
    return all(compared) if compared else None


def _downloads(facts: Manifest, source: Source, home: Path | None) -> Path:
    return places.downloads(home) / (source.downloads or facts.name)


def _folder_around(given: Path, sources: list[Source]) -> Path:
    files = [file for source in sources for file in source.files]
    if given.is_file():
        named = given.name in {file.name for file in files}
        if not named and not any(map(readers.has_no_fixed_names, sources)):
            raise UsageError(f"{given} is none of the files: expected {_wanted(sources)}")
        return given.parent
    if given.name in {file.extracted for file in files} and given.is_dir():
        inside = any(readers.find(file, given) for file in files)
        return given if inside else given.parent
    return given


def _wanted(sources: list[Source]) -> str:
    wanted = [
        some_of(
            (
                file.name + (f" (or the folder {file.extracted})" if file.extracted else "")
                for file in source.files
            ),
            between=" and ",
        )
        for source in sources
        if source.files
    ]
    return "; or ".join(wanted) or "images"
