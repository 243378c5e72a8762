"""The files of a zip archive."""

import lzma
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from episodes.archive.kinds import not_whole
from episodes.archive.member import Content, Member, refusal, safe_name, shown

FAULTS = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    OSError,
    RuntimeError,  # NotImplementedError, and what an encrypted entry raises
    ValueError,  # UnicodeDecodeError
    OverflowError,
    MemoryError,
)
KINDS = {stat.S_IFLNK: "a link", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
FILE_KINDS = (0, stat.S_IFREG, stat.S_IFDIR)  # 0: packed on a system that has no kinds


def zip_members(path: Path) -> Iterator[Member]:
    """The files of the zip `path`, after all its entries were found safe.

    The table of contents is held in memory, about 0.6 KB an entry. Raises EpisodesError for an
    unsafe entry and for damage.
    """
    try:
        archive = zipfile.ZipFile(path)
    except FAULTS:
        raise not_whole(path) from None
    origin = str(path)
    with archive:
        infos = [info for info in archive.infolist() if not info.filename.endswith("/")]
        for info in infos:
            _refuse_unsafe(origin, info)
        for info in infos:
            where = f"{origin}: the entry {shown(info.filename)}"
            with Content(partial(archive.open, info), info.file_size, where, FAULTS) as content:
                yield Member(safe_name(origin, info.filename), info.file_size, origin, content)


def _refuse_unsafe(origin: str, info: zipfile.ZipInfo) -> None:
    safe_name(origin, info.filename)
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in FILE_KINDS:
        raise refusal(origin, info.filename, KINDS.get(kind, "a device"))
