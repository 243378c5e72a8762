"""Archives as they are found: packed in all ways, hostile, cut, damaged, or larger than memory."""

import bz2
import gzip
import io
import lzma
import os
import random
import re
import resource
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from episodes.archive import MAX_MEMBER_BYTES, members, tar_members
from episodes.errors import EpisodesError

BLOCK = 512
END = bytes(2 * BLOCK)
LONG = "deep/" * 40 + "n" * 90 + ".jpg"
FILES = {
    "top/b.jpg": bytes(range(256)) * 5,
    "top/a.jpg": b"a",
    "top/sub/empty": b"",
    "top/ümläut 1.jpg": b"x" * BLOCK,
    f"top/{LONG}": b"y" * 1000,
}


def header(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = size, kind, link
    return info.tobuf(tarfile.GNU_FORMAT)


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % BLOCK)


def entry(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE) -> bytes:
    return header(name, len(content), kind) + padded(content)


def tar(files: dict[str, bytes], form: int = tarfile.GNU_FORMAT) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=form) as archive:
        folder = tarfile.TarInfo("./top")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in files.items():
            info = tarfile.TarInfo(f"./{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("top/", b"")
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


KINDS: dict[str, Callable[[dict[str, bytes]], bytes]] = {
    "gnu": tar,
    "pax": lambda files: tar(files, tarfile.PAX_FORMAT),
    "gz": lambda files: gzip.compress(tar(files)),
    "bz2": lambda files: bz2.compress(tar(files, tarfile.PAX_FORMAT)),
    "xz": lambda files: lzma.compress(tar(files)),
    "zip": zipped,
}


def contents(path: Path) -> dict[str, bytes]:
    return {member.name: member.read() for member in members(path)}


def told(path: Path, content: bytes) -> str:
    """The line in which `content` is refused when it is read as an archive."""
    path.write_bytes(content)
    with pytest.raises(EpisodesError) as caught:
        contents(path)
    line = str(caught.value)
    assert str(path) in line and "\n" not in line and len(line) < 600
    return line


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_of_any_kind_gives_its_files(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "archive.bin"
    path.write_bytes(KINDS[kind](FILES))
    assert contents(path) == FILES
    listed = [(member.name, member.size) for member in members(path)]
    assert listed == [(name, len(content)) for name, content in FILES.items()]


@pytest.mark.parametrize("kind", KINDS)
def test_files_can_be_read_in_part_or_passed_over(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "archive"
    files = {f"top/{number}": bytes([number]) * 3000 for number in range(9)}
    path.write_bytes(KINDS[kind](files))
    for number, member in enumerate(members(path)):
        if number % 3 == 0:
            assert member.open().read(700) == bytes([number]) * 700
        elif number % 3 == 1:
            with member.open() as stream:
                assert stream.read() == bytes([number]) * 3000
                assert stream.read(1) == b""


@pytest.mark.parametrize("kind", [*KINDS, "folder"])
def test_a_file_is_read_once_and_in_its_turn(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "top"
    if kind == "folder":
        path.mkdir()
        (path / "a").write_bytes(b"a" * 9)
        (path / "b").write_bytes(b"b" * 9)
    else:
        path.write_bytes(KINDS[kind]({"top/a": b"a" * 9, "top/b": b"b" * 9}))
    found = members(path)
    first = next(found)
    stream = first.open()
    with pytest.raises(ValueError, match="read already"):
        first.read()
    second = next(found)
    with pytest.raises(ValueError):
        stream.read()
    next(found, None)
    with pytest.raises(ValueError, match="its turn is over"):
        second.read()


def test_a_file_may_be_larger_than_what_is_read_whole(tmp_path: Path) -> None:
    for kind in KINDS:
        (tmp_path / kind).write_bytes(KINDS[kind]({"top/big": bytes(2000)}))
        for member in members(tmp_path / kind):
            with pytest.raises(EpisodesError, match="'top/big' claims 2000 bytes; expected 1999"):
                member.read(limit=1999)
            assert len(member.open().read()) == 2000


def test_what_is_passed_over_in_a_tar_on_disk_is_not_read(tmp_path: Path) -> None:
    if not Path("/proc/self/io").exists():
        pytest.skip("this system does not count what a process reads")
    path, hole = tmp_path / "sparse.tar", 64 << 30
    with path.open("wb") as file:
        file.write(header("hole", hole))
        file.seek(hole, 1)
        file.write(entry("n01440764.tar", tar(FILES)) + END)

    def bytes_read() -> int:
        return int(Path("/proc/self/io").read_text().split()[1])

    before = bytes_read()
    first, second = members(path), members(path)
    with pytest.raises(EpisodesError, match=f"claims {hole} bytes; expected {MAX_MEMBER_BYTES}"):
        next(first).read()
    next(second)
    inner = next(second)
    names = [member.name for member in tar_members(inner.open(), f"{path}: {inner.name}")]
    assert names == list(FILES)
    assert bytes_read() - before < 1 << 20


def test_an_inner_tar_needs_no_seeking(tmp_path: Path) -> None:
    class Pipe:
        """Gives at most 100 bytes at once, as a socket may."""

        def __init__(self, content: bytes) -> None:
            self.content = io.BytesIO(content)

        def read(self, count: int, /) -> bytes:
            return self.content.read(min(count, 100))

    outer = entry("n1.tar", tar(FILES)) + entry("n2.tar", tar({"top/a": b"1"})) + END
    found = {
        (outside.name, inside.name): inside.read()
        for outside in tar_members(Pipe(outer), "outer")  # type: ignore[arg-type]
        for inside in tar_members(outside.open(), f"outer: {outside.name}")
    }
    expected = {("n1.tar", name): content for name, content in FILES.items()}
    assert found == expected | {("n2.tar", "top/a"): b"1"}


CLIMBING = ["../a", "/etc/passwd", "a/../../b", "C:/a", "c:a", "..\\a", "\\a", "."]


@pytest.mark.parametrize("name", CLIMBING)
def test_names_that_climb_out_are_refused(name: str, tmp_path: Path) -> None:
    packed = entry("good", b"1") + entry(name, b"2") + END
    for content in (packed, zipped({"good": b"1", name: b"2"})):
        line = told(tmp_path / "archive", content)
        assert f"the entry {name!r} climbs out of its folder: do not trust this archive" in line


def test_backslashes_are_refused_and_odd_names_are_not(tmp_path: Path) -> None:
    for content in (entry("a\\b", b"1") + END, zipped({"a\\b": b"1"})):
        assert "has backslashes in its name" in told(tmp_path / "archive", content)
    odd = ["...", "a..b/c", " ", "Alphabet_(old)", "F-16A B", "10:30.jpg"]
    for pack in (tar, zipped):
        (tmp_path / "odd").write_bytes(pack(dict.fromkeys(odd, b"1")))
        assert list(contents(tmp_path / "odd")) == odd


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        (tarfile.SYMTYPE, "a symbolic link"),
        (tarfile.LNKTYPE, "a hard link"),
        (tarfile.CHRTYPE, "a device"),
        (tarfile.BLKTYPE, "a device"),
        (tarfile.FIFOTYPE, "a pipe"),
        (tarfile.GNUTYPE_SPARSE, "a sparse file"),
        (b"V", "of the unknown tar type b'V'"),
    ],
)
def test_what_is_no_file_in_a_tar_is_refused(kind: bytes, what: str, tmp_path: Path) -> None:
    content = entry("good", b"1") + header("bad", 0, kind, "good") + END
    line = told(tmp_path / "archive", content)
    assert f"the entry 'bad' is {what}; expected a file" in line


def test_what_is_no_file_in_a_zip_is_refused_before_the_first_file(tmp_path: Path) -> None:
    for mode, what in [(0o120777, "a link"), (0o010644, "a pipe"), (0o020644, "a device")]:
        path = tmp_path / "archive.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("good", b"1")
            info = zipfile.ZipInfo("bad")
            info.external_attr = mode << 16
            archive.writestr(info, b"good")
        with pytest.raises(EpisodesError, match=f"the entry 'bad' is {what}; expected a file"):
            next(members(path))


def test_an_encrypted_zip_is_told(tmp_path: Path) -> None:
    content = bytearray(zipped({"a": b"secret"}))
    for mark, at in [(b"PK\x01\x02", 8), (b"PK\x03\x04", 6)]:
        content[content.rindex(mark) + at] |= 1
    assert "cannot be read (" in told(tmp_path / "archive", bytes(content))


def pax(*records: str) -> bytes:
    payload = "".join(records).encode()
    return entry("pax", payload, tarfile.XHDTYPE)


def record(key: str, value: str) -> str:
    tail = f" {key}={value}\n"
    length = len(tail.encode())
    return f"{length + len(str(length + 2))}{tail}"


def with_size(block: bytes, field: bytes) -> bytes:
    """The header `block` with another size field and the checksum that belongs to it."""
    block = block[:124] + field.ljust(12, b"\0") + block[136:]
    total = sum(block[:148]) + 8 * 32 + sum(block[156:])
    return block[:148] + b"%06o\0 " % total + block[156:]


LONG_NAME, N = "././@LongLink", header("n")
LONG_NAME_KIND = tarfile.GNUTYPE_LONGNAME
EARLY = "ends inside the entry 'n'|ends [0-9]+ bytes early"
HOSTILE = {
    "a name of 10 GB": (header(LONG_NAME, 10 << 30, LONG_NAME_KIND), "claim 10737418240 bytes"),
    "attributes of 10 GB": (header("pax", 10 << 30, tarfile.XHDTYPE), "claim 10737418240 bytes"),
    "common attributes": (header("pax", 10 << 30, tarfile.XGLTYPE), "claim 10737418240 bytes"),
    "a name of 100 KB": (
        entry(LONG_NAME, b"n" * 100_000, LONG_NAME_KIND) + N,
        "a name of 100000 characters; expected 4096 at most",
    ),
    "a name that never comes": (header(LONG_NAME, 1 << 20, LONG_NAME_KIND), "ends inside a name"),
    "names without end": (entry(LONG_NAME, b"n", LONG_NAME_KIND) * 9, "more than 8 headers"),
    "a long name that climbs": (entry(LONG_NAME, b"../" * 60, LONG_NAME_KIND) + N, "climbs out"),
    "a pax name that climbs": (pax(record("path", "/etc/passwd")) + N, "climbs out"),
    "a negative size": (with_size(N, b"\xff" * 12), "claims -1 bytes"),
    "a size beyond the end": (header("n", 1 << 29), EARLY),
    "an absurd size": (header("n", 1 << 80), f"{EARLY}|claims {1 << 80} bytes"),
    "a negative pax size": (pax(record("size", "-5")) + N, "a size that is not a number"),
    "an absurd pax size": (pax(record("size", "9" * 5000)) + N, "a size that is not a number"),
    "a pax size beyond the end": (pax(record("size", "99999999")) + N, EARLY),
    "a sparse pax file": (pax(record("GNU.sparse.major", "1")) + N, "'n' is a sparse file"),
    "a pax record of no length": (pax("0 path=x\n") + N, "cannot be understood"),
    "a pax record beyond its header": (pax("99 path=x\n") + N, "cannot be understood"),
    "a pax header without a record": (pax("path") + N, "cannot be understood"),
    "a wrong checksum": (b"m" + N[1:], "bad checksum"),
    "something else": (b"something else" * 50, "bad checksum|invalid header"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_headers_are_refused(case: str, tmp_path: Path) -> None:
    hostile, message = HOSTILE[case]
    content = entry("good", b"1") + hostile + END
    for pack in (bytes, gzip.compress):
        assert re.search(message, told(tmp_path / "archive", pack(content)))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "zip"])
def test_a_cut_tar_never_passes_for_a_whole_one(kind: str, tmp_path: Path) -> None:
    whole = KINDS[kind]({f"top/{n}": os.urandom(700) for n in range(3)})
    step = BLOCK if kind in ("gnu", "pax") else 97
    last = whole.rstrip(b"\0") if step == BLOCK else whole
    for length in [*range(0, len(last), step), len(last) - 1]:
        assert "again" in told(tmp_path / "archive", whole[:length])


def test_an_end_mark_may_be_missing_only_where_something_else_tells_the_end(
    tmp_path: Path,
) -> None:
    unmarked = entry("a", b"1") + entry("b", b"2")
    path = tmp_path / "archive.tar"
    assert "a truncated or damaged tar, not a whole tar archive" in told(path, unmarked)
    for pack in (gzip.compress, bz2.compress, lzma.compress):
        path.write_bytes(pack(unmarked))
        assert contents(path) == {"a": b"1", "b": b"2"}
    path.write_bytes(entry("inner.tar", unmarked) + END)
    for outer in members(path):
        assert [inner.name for inner in tar_members(outer.open(), "inner")] == ["a", "b"]
    with pytest.raises(EpisodesError, match="it ends without tar's end mark"):
        list(tar_members(io.BytesIO(unmarked), "a stream", whole=False))
    path.write_bytes(unmarked + bytes(BLOCK))  # a mark of one block, as some writers leave it
    assert contents(path) == {"a": b"1", "b": b"2"}


@pytest.mark.parametrize(
    ("tail", "message"),
    [
        (b"garbage", "something follows tar's end mark"),
        (entry("another tar") + END, "something follows tar's end mark"),
        (bytes(5 << 20), "zeros in place of files"),
    ],
)
def test_what_follows_the_end_mark_is_told(tail: bytes, message: str, tmp_path: Path) -> None:
    content = entry("a", b"1") + END + tail
    for pack in (bytes, gzip.compress):
        line = told(tmp_path / "archive", pack(content))
        assert message in line or (pack is bytes and "a truncated or damaged tar" in line)
    assert "Not a gzipped file" in told(tmp_path / "archive", gzip.compress(entry("a")) + b"tail")


def test_a_checksum_of_the_compression_is_compared(tmp_path: Path) -> None:
    for pack in (gzip.compress, bz2.compress, lzma.compress):
        packed = bytearray(pack(tar({"top/a": os.urandom(5000)})))
        packed[len(packed) // 2] ^= 0x10
        assert "again" in told(tmp_path / "archive", bytes(packed))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.zip", b"\n <!DOCTYPE html>Quota exceeded", "a web page, not a whole zip archive"),
        ("a.tgz", b"<html>", "a web page, not a whole tar.gz archive"),
        ("a.tar", gzip.compress(b"<html>" * 200, mtime=0), "holds a web page, not a tar archive"),
        ("a.tar", b"", "(0 bytes) is empty, not a whole tar archive"),
        ("a.tar", bytes(5000), "nothing but zeros at its start, not a whole tar archive"),
        ("a.tar.xz", b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer, not a"),
        ("a.tar", b"7z\xbc\xaf\x27\x1c" * 99, "a 7z archive, not a whole tar archive"),
        ("a.zip", b"\x80\x02}q\x01.", "a pickle, not a whole zip archive"),
        ("a.zip", zipped(FILES)[:-100], "a truncated or damaged zip, not a whole zip archive"),
        ("a", b"hello", "something else, not a whole zip or tar archive: fetch it again"),
    ],
)
def test_another_file_is_named_for_what_it_is(
    name: str, content: bytes, message: str, tmp_path: Path
) -> None:
    assert message in told(tmp_path / name, content)


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(EpisodesError, match=r"cannot read .*nowhere.tar: No such file"):
        next(members(tmp_path / "nowhere.tar"))


def test_a_folder_is_named_like_its_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    assert contents(tmp_path / "top") == FILES
    names = [member.name for member in members(tmp_path / "top")]
    assert names == sorted(FILES, key=lambda name: name.split("/"))
    monkeypatch.chdir(tmp_path / "top")
    assert [member.name for member in members(Path("."))] == names


def test_links_in_a_folder_are_followed(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "top", tmp_path / "elsewhere"
    for place in (folder, elsewhere):
        place.mkdir()
        (place / "a.jpg").write_bytes(b"a")
    (folder / "b.jpg").symlink_to(elsewhere / "a.jpg")
    (folder / "class").symlink_to(elsewhere)
    (folder / "loop").symlink_to(folder)
    (elsewhere / "up").symlink_to(folder)
    (folder / "gone.jpg").symlink_to(tmp_path / "nothing")
    os.mkfifo(folder / "pipe")
    found: dict[str, bytes | str] = {}
    for member in members(folder):
        try:
            found[member.name] = member.read()
        except EpisodesError as error:
            found[member.name] = str(error)
    assert list(found) == ["top/a.jpg", "top/b.jpg", "top/class/a.jpg", "top/gone.jpg"]
    assert found.pop("top/gone.jpg") == (
        f"{folder / 'gone.jpg'} cannot be read (No such file or directory): "
        "check that it is there, and its permissions"
    )
    assert set(found.values()) == {b"a"}


def damaged(content: bytes, chance: random.Random) -> bytes:
    """`content` cut, overwritten, shortened, lengthened or blanked somewhere."""
    start, length = chance.randrange(len(content)), chance.randint(1, 700)
    before, after = content[:start], content[start:]
    return chance.choice(
        [
            before,
            before + chance.randbytes(1) + after[1:],
            before + after[length:],
            before + chance.randbytes(length) + after,
            before + bytes(min(length, len(after))) + after[length:],
        ]
    )


def test_random_damage_ends_in_one_line_or_does_no_harm(tmp_path: Path) -> None:
    chance = random.Random(0)
    whole = [pack(FILES) for pack in KINDS.values()]
    path = tmp_path / "archive"
    refused = 0
    for _ in range(600):
        path.write_bytes(damaged(chance.choice(whole), chance))
        try:
            for member in members(path):
                if chance.random() < 0.7:
                    member.read()
        except EpisodesError as error:
            assert "\n" not in str(error) and len(str(error)) < 600
            refused += 1
    assert refused > 300


IMAGE_BYTES = 100_000
IMAGES = 1300  # of an inner tar, like ILSVRC's
BUFFER = random.Random(0).randbytes(2 * IMAGE_BYTES) if __name__ == "__main__" else b""


def image(number: int) -> memoryview:
    return memoryview(BUFFER)[number * 7 :][:IMAGE_BYTES]


def inner_pieces() -> Iterator[bytes | memoryview]:
    """A tar of images, piece by piece."""
    for number in range(IMAGES):
        yield header(f"n01440764_{number}.JPEG", IMAGE_BYTES)
        yield image(number)
        yield bytes(-IMAGE_BYTES % BLOCK)
    yield END


def outer_pieces(tars: int) -> Iterator[bytes | memoryview]:
    """A tar of tars of images, like ILSVRC2012_img_train.tar, piece by piece."""
    pieces = list(inner_pieces())
    size = sum(map(len, pieces))
    for number in range(tars):
        yield header(f"n{number:08d}.tar", size)
        yield from pieces
    yield END


class Stream:
    """What the pieces add up to, made as it is read, forwards only."""

    def __init__(self, pieces: Iterator[bytes | memoryview]) -> None:
        self.pieces = pieces
        self.rest = memoryview(b"")
        self.given = 0

    def read(self, count: int) -> bytes:
        taken = []
        while count:
            if not self.rest:
                self.rest = memoryview(next(self.pieces, b""))
            if not self.rest:
                break
            taken.append(self.rest[:count])
            self.rest = self.rest[count:]
            count -= len(taken[-1])
            self.given += len(taken[-1])
        return b"".join(taken)


def read_synthetic(tars: int) -> None:
    """Read every third inner tar of the synthetic stream, print its bytes and the memory used."""
    stream = Stream(outer_pieces(tars))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    read = 0
    for number, outer in enumerate(tar_members(stream, "outer")):  # type: ignore[arg-type]
        if number % 3 == 0:
            for place, inner in enumerate(tar_members(outer.open(), outer.name)):
                assert inner.read() == image(place)
                read += 1
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert read == len(range(0, tars, 3)) * IMAGES
    print(stream.given, grown * (1 if sys.platform == "darwin" else 1024))


@pytest.mark.parametrize("gigabytes", [1, pytest.param(64, marks=pytest.mark.slow)])
def test_memory_does_not_grow_with_the_archive(gigabytes: int) -> None:
    tars = -(-gigabytes * 10**9 // (IMAGES * IMAGE_BYTES))
    result = subprocess.run(
        [sys.executable, __file__, str(tars)], check=True, capture_output=True, text=True
    )
    given, grown = map(int, result.stdout.split())
    assert given > gigabytes * 10**9
    assert grown < 16 << 20


if __name__ == "__main__":
    read_synthetic(int(sys.argv[1]))
