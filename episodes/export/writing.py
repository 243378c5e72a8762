"""Writing an export: the files of its format, and episodes.json, whole or not at all."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from episodes.archive import file_sha256
from episodes.disk import sync_file
from episodes.errors import EpisodesError, UsageError, unknown_name
from episodes.export.description import (
    FILE_NAME,
    FORMATS,
    ExportedFile,
    ExportInfo,
    describe,
    read_info,
    write_info,
)
from episodes.export.naming import NamedBatch, named_batches
from episodes.export.placing import refuse_place
from episodes.progress import Progress, silent
from episodes.store.placing import built_beside, exclusive
from episodes.stream import Stream


def export(
    stream: Stream,
    count: int,
    folder: str | Path,
    format: str = "plan",
    progress: Progress | None = None,
    *,
    threads: int = 1,
    force: bool = False,
) -> ExportInfo:
    """Freeze the first `count` episodes of `stream` in `folder`: it is there whole or not at all.

    `format` is one of FORMATS; episodes.json, in the folder, says what it is and how to read it.
    `force` replaces an export that is there. Raises UsageError for an unknown format, a count under
    1, a rank's share of a stream, and a folder that is there; EpisodesError for a damaged store and
    for what the disk refuses.
    """
    if format not in FORMATS:
        raise unknown_name("format", format, FORMATS)
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise UsageError(f"count is {count!r}; expected a whole number of 1 or more")
    if stream.world > 1:
        raise UsageError(f"{stream!r} is a share: export the whole stream")
    folder = Path(folder)
    refuse_place(folder, force, _strangers)
    target = folder.absolute()
    try:
        with exclusive(target):
            refuse_place(folder, force, _strangers)
            with built_beside(target) as beside:
                return _write(stream, describe(stream, format, count), beside, progress, threads)
    except OSError as error:
        raise EpisodesError(
            f"cannot write the export {folder}: {error.strerror or error}: "
            "free or choose another place"
        ) from None


def _write(
    stream: Stream, info: ExportInfo, folder: Path, progress: Progress | None, threads: int
) -> ExportInfo:
    batches = named_batches(stream, 0, info.count, threads)
    told = _telling(batches, info.count, progress or silent)
    files = []
    for name, episodes in _files(stream, info, folder, told):
        sync_file(folder / name)
        size = (folder / name).stat().st_size
        files.append(ExportedFile(name, size, file_sha256(folder / name), episodes))
    info = replace(info, files=tuple(files))
    write_info(folder, info)
    sync_file(folder / FILE_NAME)
    return info


def _files(
    stream: Stream, info: ExportInfo, folder: Path, batches: Iterator[NamedBatch]
) -> Iterable[tuple[str, int]]:
    """Write the files of the format, and give each one's name and number of episodes."""
    if info.container == "plan":
        from episodes.export.plan import write_plan

        return write_plan(folder, batches)
    if info.container == "webdataset":
        from episodes.export.tar import write_tars

        return write_tars(folder, batches)
    if info.container == "hdf5":
        from episodes.export.hdf5 import write_hdf5

        return write_hdf5(folder, info, stream, batches)
    from episodes.export.arrow import write_arrow

    return write_arrow(folder, stream, batches)


def _telling(batches: Iterator[NamedBatch], count: int, progress: Progress) -> Iterator[NamedBatch]:
    done = 0
    for batch, names in batches:
        yield batch, names
        done += len(names)
        progress("exporting episodes", done, count)


def _strangers(folder: Path) -> list[str]:
    """What is in the folder of an export that is no part of it."""
    parts = {FILE_NAME, *(file.file for file in read_info(folder).files)}
    return [path.name for path in folder.iterdir() if path.name not in parts]
