"""What a file is by its first bytes, whatever its name says."""

from pathlib import Path
from tarfile import HeaderError, TarInfo

from episodes.errors import EpisodesError

START = 512
ZIP, GZIP, BZIP2, XZ = b"PK", b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0"
OTHERS = {
    ZIP: "a truncated or damaged zip",
    GZIP: "a truncated or damaged gzip",
    BZIP2: "a truncated or damaged bzip2",
    XZ: "a truncated or damaged xz",
    b"<": "a web page",
    b"{": "a JSON document",
    b"version https://git-lfs": "a Git LFS pointer",
    b"\x80": "a pickle",
    b"\x89HDF": "an HDF5 file",
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"\x28\xb5\x2f\xfd": "a Zstandard archive",
}
SUFFIXES = {
    (".zip",): "zip",
    (".tar.gz", ".tgz"): "tar.gz",
    (".tar.bz2", ".tbz2"): "tar.bz2",
    (".tar.xz", ".txz"): "tar.xz",
    (".tar",): "tar",
}


def start_of(path: Path) -> bytes:
    """The first 512 bytes of a file; raises EpisodesError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(START)
    except OSError as error:
        raise EpisodesError(f"cannot read {path}: {error.strerror}") from None


def is_tar(start: bytes) -> bool:
    """Whether a file that starts so is an uncompressed tar: its first header's checksum agrees."""
    try:
        TarInfo.frombuf(start, "utf-8", "replace")
    except HeaderError:
        return False
    return True


def what_it_is(start: bytes) -> str:
    """What a file that starts so seems to be, with its article."""
    if not start:
        return "empty"
    if not start.strip(b"\0"):
        return "nothing but zeros at its start"
    for magic, kind in OTHERS.items():
        if start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(magic):
            return kind
    if is_tar(start) or start[257:262] == b"ustar":
        return "a truncated or damaged tar"
    return "something else"


def not_whole(path: Path) -> EpisodesError:
    """The error for a file that is not an archive, or not all of one."""
    kinds = (kind for suffixes, kind in SUFFIXES.items() if path.name.endswith(suffixes))
    expected = next(kinds, "zip or tar")
    return EpisodesError(
        f"{path} ({path.stat().st_size} bytes) is {what_it_is(start_of(path))}, "
        f"not a whole {expected} archive: fetch it again"
    )
