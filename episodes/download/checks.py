"""Whether what arrived is the file that was asked for, by all that is known of it."""

import hashlib
from collections.abc import Iterable
from pathlib import Path, PurePath

from episodes.download.pages import looks_like_a_page
from episodes.manifest import SourceFile

START_BYTES = 512
CHUNK_BYTES = 1 << 20
# The kind of file that a suffix promises: where its marks stand, and which there are.
KINDS = {
    "gzip archive": ((".gz", ".tgz"), 0, (b"\x1f\x8b",)),
    "zip archive": ((".zip",), 0, (b"PK\x03\x04", b"PK\x05\x06")),
    "tar archive": ((".tar",), 257, (b"ustar",)),
    "xz archive": ((".xz", ".txz"), 0, (b"\xfd7zXZ\x00",)),
    "bzip2 archive": ((".bz2", ".tbz2"), 0, (b"BZh",)),
    "pickle": ((".pkl", ".pickle"), 0, tuple(bytes((0x80, version)) for version in range(2, 6))),
}


def misfit(path: Path, file: SourceFile) -> str | None:
    """How the bytes at `path` differ from `file`, in words; None where all that is known fits."""
    size = path.stat().st_size
    expected = {name: known for name in ("sha256", "md5") if (known := getattr(file, name))}
    found = checksums(path, expected)
    with path.open("rb") as part:
        start = part.read(START_BYTES)
    what = "a web page" if looks_like_a_page(start) else "another file"
    if file.bytes not in (None, size) or found != expected:
        wanted = "" if file.bytes is None else f"{file.bytes:,} bytes"
        return (
            f"{what}: {_described(f'{size:,} bytes', found)}; "
            f"expected {_described(wanted, expected)}"
        )
    if expected or file.bytes is not None:
        return None
    kind = _kind_promised(file.name)
    if what == "a web page" or not start or (kind and not _is(kind, start)):
        return f"{what}: {size:,} bytes that begin with {start[:8]!r}; expected a {kind or 'file'}"
    return None


def checksums(path: Path, names: Iterable[str]) -> dict[str, str]:
    """The named hashes ("sha256", "md5") of a file's bytes, in hex."""
    sums = {name: hashlib.new(name, usedforsecurity=False) for name in names}
    with path.open("rb") as part:
        while sums and (chunk := part.read(CHUNK_BYTES)):
            for running in sums.values():
                running.update(chunk)
    return {name: running.hexdigest() for name, running in sums.items()}


def _described(size: str, sums: dict[str, str]) -> str:
    titles = {"sha256": "SHA-256", "md5": "MD5"}
    told = " and ".join(f"{titles[name]} {digest[:12]}…" for name, digest in sums.items())
    return " with ".join(filter(None, (size, told)))


def _kind_promised(name: str) -> str | None:
    suffix = PurePath(name).suffix.lower()
    return next((kind for kind, (suffixes, _, _) in KINDS.items() if suffix in suffixes), None)


def _is(kind: str, start: bytes) -> bool:
    _, offset, marks = KINDS[kind]
    return start[offset:].startswith(marks)
