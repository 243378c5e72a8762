"""The files of an archive, or of its extracted folder, as a stream that is never unpacked."""

import hashlib
from bz2 import BZ2File
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from gzip import GzipFile
from lzma import LZMAFile
from pathlib import Path

from episodes.archive.folder import folder_members
from episodes.archive.kinds import BZIP2, GZIP, XZ, ZIP, is_tar, not_whole, start_of
from episodes.archive.member import MAX_MEMBER_BYTES, Member, Readable
from episodes.archive.tar import tar_file_members, tar_members
from episodes.archive.zip import zip_members

__all__ = ["MAX_MEMBER_BYTES", "Member", "file_sha256", "members", "tar_members"]

DECOMPRESSORS: Mapping[bytes, Callable[[Path], AbstractContextManager[Readable]]] = {
    GZIP: GzipFile,
    BZIP2: BZ2File,
    XZ: LZMAFile,
}


def members(path: Path) -> Iterator[Member]:
    """The files of a zip, tar, tar.gz, tar.bz2, tar.xz or folder, in its own order.

    What it is is seen in its first bytes, whatever its name. Folders are passed over. Raises
    EpisodesError for links, devices, names that climb out, damage, and what is no archive.
    """
    if path.is_dir():
        yield from folder_members(path)
        return
    start = start_of(path)
    for magic, decompress in DECOMPRESSORS.items():
        if start.startswith(magic):
            with decompress(path) as stream:
                yield from tar_members(stream, str(path))
            return
    if start.startswith(ZIP):
        yield from zip_members(path)
    elif is_tar(start):
        yield from tar_file_members(path)
    else:
        raise not_whole(path)


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
