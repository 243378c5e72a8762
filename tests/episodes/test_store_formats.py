"""The formats of a store: the same rows from each, and damage to any told in one line."""

import hashlib
import io
import json
import os
import pickle
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from episodes.errors import EpisodesError, UsageError
from episodes.store import Store
from episodes.store import open as open_store
from episodes.store.layout import IndexInfo, write_info
from episodes.store.shards import writer
from tests.episodes.made_stores import (
    FORMATS,
    Files,
    decoded,
    encoded,
    encoded_all,
    expected_digest,
    make_store,
    random_images,
)

EVERY_FORMAT = pytest.mark.parametrize(("container", "encoding"), FORMATS)
ENCODED_FORMATS = pytest.mark.parametrize(("container", "encoding"), FORMATS[1:])


def make(folder: Path, container: str, encoding: str, **options: object) -> Store:
    images = random_images()
    given = encoded_all(images) if encoding == "original" else images
    return make_store(folder, given, container, encoding, **options)  # type: ignore[arg-type]


def photographs() -> Files:
    """JPEGs of differing sizes, one of them grey, and a PNG with a palette among them."""
    generator = np.random.default_rng(5)

    def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
        return generator.integers(0, 256, (height, width, channels), np.uint8)

    palette = Image.fromarray(noise(9, 14)).convert("P")
    palette.save(buffer := io.BytesIO(), "PNG")
    return {
        "wren": {"1.jpg": encoded(noise(20, 30), "JPEG"), "2.jpg": encoded(noise(31, 17), "JPEG")},
        "owl": {"1.jpg": encoded(noise(25, 16, 1), "JPEG"), "2.jpg": buffer.getvalue()},
    }


def damage(path: Path, found: bytes, put: bytes) -> None:
    """Overwrite the one place where `found` stands in a file."""
    content = path.read_bytes()
    assert content.count(found) == 1
    path.write_bytes(content.replace(found, put))


@EVERY_FORMAT
@pytest.mark.parametrize("shard_bytes", [1, 2000, 1 << 20])
def test_every_format_gives_the_same_rows_and_digest(
    tmp_path: Path, container: str, encoding: str, shard_bytes: int
) -> None:
    images = random_images()
    store = make(tmp_path / "made", container, encoding, shard_bytes=shard_bytes)
    expected = np.stack([image for of_class in images.values() for image in of_class.values()])
    rows = np.random.default_rng(1).permutation(20)
    np.testing.assert_array_equal(store.images(rows), expected[rows])
    assert store.ids(np.arange(20)) == [i for of_class in images.values() for i in of_class]
    assert [len(store.info.shards) > 1, store.image_shape] == [shard_bytes < 1 << 20, (12, 12, 3)]
    np.testing.assert_array_equal(store.image(13), expected[13])
    out = np.empty((20, 12, 12, 3), np.uint8)
    assert store.images(rows, out) is out
    np.testing.assert_array_equal(out, expected[rows])
    store.verify(deep=True)
    with pytest.raises(EpisodesError, match="the store has rows 0 .. 19"):
        store.images(np.array([20]))


@EVERY_FORMAT
def test_rows_that_come_in_pieces_make_the_same_shards(
    tmp_path: Path, container: str, encoding: str
) -> None:
    whole = make(tmp_path / "whole", container, encoding, shard_bytes=3000)
    pieces = make(tmp_path / "pieces", container, encoding, shard_bytes=3000, rows_at_once=2)
    assert whole.info == pieces.info
    assert len(whole.info.shards) > 2


@EVERY_FORMAT
def test_grey_images(tmp_path: Path, container: str, encoding: str) -> None:
    images = random_images(channels=1)
    given = encoded_all(images) if encoding == "original" else images
    store = make_store(
        tmp_path / "grey",
        given,
        container,
        encoding,
        channels=1,
        image_shape=(12, 12, 1),
    )
    first = next(iter(images["ant"].values()))
    np.testing.assert_array_equal(store.images(np.array([0]))[0], first)


@ENCODED_FORMATS
def test_images_of_differing_sizes(tmp_path: Path, container: str, encoding: str) -> None:
    files = photographs()
    pixels = {
        name: {image_id: decoded(file, 3) for image_id, file in of_class.items()}
        for name, of_class in files.items()
    }
    given = files if encoding == "original" else pixels
    store = make_store(tmp_path / "birds", given, container, encoding)
    with pytest.raises(UsageError, match=r"differ in size: open it .*\(episodes.open\("):
        store.images(np.array([0]))
    expected = [image for of_class in pixels.values() for image in of_class.values()]
    for row, image in enumerate(expected):
        np.testing.assert_array_equal(store.image(row), image)
    if encoding == "original":
        assert store.encoded(3) == files["owl"]["2.jpg"]
    assert store.digest == expected_digest(pixels)
    store.verify(deep=True)


@pytest.mark.parametrize("method", [None, "bicubic"])
def test_a_view_resizes_what_it_gathers(tmp_path: Path, method: str | None) -> None:
    files = photographs()
    store = make_store(tmp_path / "birds", files, "hdf5", "original")
    view = store.at_size(10, method)
    resample = Image.Resampling[(method or "bilinear").upper()]
    expected = [
        np.asarray(Image.fromarray(decoded(file, 3)).resize((10, 10), resample))
        for of_class in files.values()
        for file in of_class.values()
    ]
    assert view.image_shape == (10, 10, 3)
    np.testing.assert_array_equal(view.images(np.arange(4)), expected)
    np.testing.assert_array_equal(view.image(1), store.image(1))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(view)).images(np.arange(4)), expected)
    view.verify(deep=True)


def test_a_view_has_a_digest_of_its_own(tmp_path: Path) -> None:
    store = make_store(tmp_path / "birds", photographs(), "hdf5", "original")
    views = [
        store,
        store.at_size(10),
        store.at_size(11),
        store.at_size(10, "bicubic"),
    ]
    assert len({view.digest for view in views}) == 4
    assert store.at_size(10).digest == store.at_size(11).at_size(10, "bilinear").digest
    assert store.digest == store.info.content_digest
    assert pickle.loads(pickle.dumps(views[3])).digest == views[3].digest
    streams = [view.stream(way=2, shot=1, query=1) for view in views[1:3]]
    assert streams[0][0].support_images.shape == (2, 10, 10, 3)
    assert streams[0].fingerprint(3) != streams[1].fingerprint(3)


def test_only_originals_are_resized(tmp_path: Path) -> None:
    raw = make(tmp_path / "raw", "hdf5", "raw")
    assert raw.at_size(12) is raw
    with pytest.raises(UsageError, match="holds pixels of 12x12, .* `episodes prepare made --size"):
        raw.at_size(10)
    original = make(tmp_path / "original", "hdf5", "original")
    assert original.at_size(12) is original
    assert original.at_size(6).at_size(12).digest == original.digest
    assert open_store(tmp_path / "original", size=6).image_shape == (6, 6, 3)
    for size, method in ((0, None), (5000, None), (6, "cubist")):
        with pytest.raises(UsageError):
            original.at_size(size, method)
    with pytest.raises(UsageError, match="keeps raw pixels"):
        raw.encoded(0)


def test_any_hdf5_reader_finds_the_image_files(tmp_path: Path) -> None:
    files = photographs()
    store = make_store(tmp_path / "birds", files, "hdf5", "original")
    with h5py.File(store.path / store.info.shards[0].file) as file:
        names = file["class_names"].asstr()[:]
        found = {
            (names[label], image_id.decode()): file["images"][start:end].tobytes()
            for label, image_id, start, end in zip(
                file["labels"][:],
                file["ids"][:],
                file["offsets"][:-1],
                file["offsets"][1:],
                strict=True,
            )
        }
        assert dict(file.attrs) == {
            "dataset": "made",
            "encoding": "original",
            "format": "episodes-store/2",
        }
    assert found == {(cls, i): data for cls, some in files.items() for i, data in some.items()}


def test_any_hdf5_reader_finds_pixels_and_classes(tmp_path: Path) -> None:
    store = make(tmp_path / "made", "hdf5", "raw", shard_bytes=3000)
    labels, pixels = [], []
    for shard in store.info.shards:
        with h5py.File(store.path / shard.file) as file:
            assert list(file["class_names"].asstr()) == list(store.class_names)
            labels += list(file["labels"])
            pixels.append(file["images"][:])
    assert labels == list(np.repeat(np.arange(5), store.class_sizes))
    np.testing.assert_array_equal(np.concatenate(pixels), store.images(np.arange(20)))


@pytest.mark.parametrize("seed", range(6))
def test_a_class_is_in_as_few_tars_as_it_can_be(tmp_path: Path, seed: int) -> None:
    generator = np.random.default_rng(seed)
    sizes = generator.integers(1, 12, 9)
    image = np.zeros((4, 4, 3), np.uint8)
    images = {f"class{c}": {f"{i}.png": image for i in range(n)} for c, n in enumerate(sizes)}
    per_tar = int(generator.integers(1, 7))
    row_bytes = 3 * 2 * tarfile.BLOCKSIZE  # three members, a header and a block each
    store = make_store(
        tmp_path / "made", images, "webdataset", shard_bytes=per_tar * row_bytes, rows_at_once=3
    )
    tars: dict[int, list[int]] = {}
    keys = []
    for number, shard in enumerate(store.info.shards):
        with tarfile.open(store.path / shard.file) as archive:
            members = archive.getmembers()
            files = [archive.extractfile(member) for member in members]
            labels = [int(file.read()) for file in files[1::3] if file]
        assert len(labels) == shard.rows <= per_tar
        keys += [member.name for member in members[::3]]
        for label in labels:
            tars.setdefault(label, []).append(number)
    assert [len(tars[label]) for label in range(9)] == list(sizes)
    assert [len(set(tars[label])) for label in range(9)] == [-(-n // per_tar) for n in sizes]
    assert keys == [f"{row:09d}.png" for row in range(sum(sizes))]
    store.verify(deep=True)


def test_the_index_says_where_tarfile_finds_the_images(tmp_path: Path) -> None:
    store = make(tmp_path / "made", "webdataset", "raw", shard_bytes=5000)
    for shard in store.info.shards:
        index = np.load(store.path / shard.index.file, mmap_mode="r")  # type: ignore[union-attr]
        with tarfile.open(store.path / shard.file) as archive:
            members = [member for member in archive if member.name.endswith(".png")]
        assert [(m.offset_data, m.size) for m in members] == [
            (entry["offset"], entry["length"]) for entry in index
        ]
        assert {(member.mtime, member.uid, member.uname) for member in members} == {(0, 0, "")}


@ENCODED_FORMATS
def test_a_damaged_image_is_named(tmp_path: Path, container: str, encoding: str) -> None:
    store = make(tmp_path / "made", container, encoding)
    shard = tmp_path / "made" / store.info.shards[0].file
    image = store.encoded(12)
    damage(shard, image, b"?" * len(image))
    hurt = Store(tmp_path / "made")
    with pytest.raises(EpisodesError, match="row 12 does not decode .*dog/dé10.png") as caught:
        hurt.images(np.array([3, 12]))
    assert "\n" not in str(caught.value)
    with pytest.raises(EpisodesError, match=f"the shard .*{shard.name} is damaged"):
        hurt.verify(deep=True)


def test_an_image_of_another_size_than_described_is_refused(tmp_path: Path) -> None:
    store = make(tmp_path / "made", "hdf5", "original", image_shape=(12, 13, 3))
    with pytest.raises(EpisodesError, match=r"ant/aé1.png is \(12, 12, 3\); store.json says"):
        store.images(np.array([0]))


@EVERY_FORMAT
def test_a_shard_cut_short_is_named(tmp_path: Path, container: str, encoding: str) -> None:
    store = make(tmp_path / "made", container, encoding)
    shard = tmp_path / "made" / store.info.shards[0].file
    os.truncate(shard, 700)
    with pytest.raises(EpisodesError, match=f"{shard.name} was changed while it was open"):
        store.images(np.array([0]))
    with pytest.raises(EpisodesError, match=f"{shard.name} has 700 bytes; expected"):
        Store(tmp_path / "made")


def test_a_damaged_index_is_refused(tmp_path: Path) -> None:
    store = make(tmp_path / "made", "webdataset", "raw")
    index = tmp_path / "made" / "shard-00000.npy"
    content = index.read_bytes()
    index.write_bytes(content[:-1] + b"x")
    with pytest.raises(EpisodesError, match=f"the index .*{index.name} is damaged .*SHA-256"):
        Store(tmp_path / "made")
    with pytest.raises(EpisodesError, match=f"the index .*{index.name} is damaged: its SHA-256"):
        store.verify()
    index.write_bytes(content[:-1])
    with pytest.raises(EpisodesError, match=f"{index.name} has .* bytes; expected"):
        Store(tmp_path / "made")
    index.unlink()
    with pytest.raises(EpisodesError, match=f"{index.name} cannot be read: No such file"):
        Store(tmp_path / "made")


ENTRY = [("offset", "<i8"), ("length", "<i8"), ("id", "S8")]


def entries(count: int = 20, dtype: object = ENTRY, **fields: object) -> np.ndarray:
    made = np.zeros(count, dtype)
    for name, value in ({"offset": 512, "length": 9, "id": b"a"} | fields).items():
        if name in (made.dtype.names or ()):
            made[name] = value
    return made


def saved(array: np.ndarray) -> bytes:
    np.save(buffer := io.BytesIO(), array)
    return buffer.getvalue()


def zipped() -> bytes:
    np.savez(buffer := io.BytesIO(), entries())
    return buffer.getvalue()


def reshaped(content: bytes, shape: bytes) -> bytes:
    """An .npy file whose header names another shape."""
    header, rest = content[:128], content[128:]
    changed = header.replace(b"(20,)", shape)
    return changed[:127].ljust(127)[:127] + b"\n" + rest


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is no .npy file"),
        (b"offset,length,id\n", "it is no .npy file"),
        (saved(entries())[:50], "it is no .npy file"),
        (saved(entries()).replace(b"descr", b"[[[[["), "it is no .npy file"),
        (zipped(), "it is no .npy file"),
        (saved(np.array([{}] * 20)), "it holds object; expected offset, length and id"),
        (saved(np.zeros(20)), "it holds float64; expected"),
        (saved(entries(dtype=[("place", "<i8"), *ENTRY[1:]])), "it holds .*place.*; expected"),
        (saved(entries(dtype=[("offset", "<i4"), *ENTRY[1:]])), "it holds .*<i4.*; expected"),
        (saved(entries(dtype=[*ENTRY[:2], ("id", "<U8")])), "it holds .*<U8.*; expected"),
        (saved(entries(dtype=[*ENTRY, ("more", "<i8")])), "it holds .*more.*; expected"),
        (saved(entries(19)), r"its shape is \(19,\); expected 20 rows"),
        (saved(entries(21)), r"its shape is \(21,\); expected 20 rows"),
        (saved(entries().reshape(4, 5)), r"its shape is \(4, 5\); expected 20 rows"),
        (saved(entries())[:-1], "its 20 rows have 479 bytes"),
        (reshaped(saved(entries()), b"(9**9,)"), "it is no .npy file"),
        (reshaped(saved(entries()), b"(99999999999,)"), "its shape is .*; expected 20 rows"),
        (saved(entries(offset=-1)), "it names places outside of shard-00000.tar"),
        (saved(entries(offset=1 << 40)), "it names places outside of"),
        (saved(entries(offset=2**63 - 1)), "it names places outside of"),
        (saved(entries(length=0)), "it names places outside of"),
        (saved(entries(length=2**63 - 1)), "it names places outside of"),
        (saved(entries(offset=-(2**63), length=2**63 - 1)), "it names places outside of"),
    ],
)
def test_an_index_that_is_whole_but_wrong_is_refused(
    tmp_path: Path, content: bytes, message: str
) -> None:
    store = make(tmp_path / "made", "webdataset", "raw")
    (shard,) = store.info.shards
    (tmp_path / "made" / "shard-00000.npy").write_bytes(content)
    index = IndexInfo("shard-00000.npy", len(content), hashlib.sha256(content).hexdigest())
    write_info(store.path, replace(store.info, shards=(replace(shard, index=index),)))
    expected = rf"the index .*shard-00000.npy is damaged \({message}.*\): type `episodes prepare"
    with pytest.raises(EpisodesError, match=expected) as caught:
        Store(tmp_path / "made")
    assert "\n" not in str(caught.value)


def test_damaged_offsets_are_refused(tmp_path: Path) -> None:
    store = make(tmp_path / "made", "hdf5", "original")
    shard = store.info.shards[0]
    content = bytearray((store.path / shard.file).read_bytes())
    for position, value in (
        (0, 1),
        (8, 1 << 40),
        (8 * 20, 1 << 40),
        (8 * 5, -3),
        (8 * 20, 2**63 - 1),
    ):
        hurt = content.copy()
        place = shard.arrays["offsets"] + position
        hurt[place : place + 8] = value.to_bytes(8, "little", signed=True)
        (store.path / shard.file).write_bytes(hurt)
        with pytest.raises(EpisodesError, match="shard-00000.h5 is damaged .its offsets"):
            Store(store.path)


def test_an_id_that_is_not_text_is_refused(tmp_path: Path) -> None:
    store = make(tmp_path / "made", "hdf5", "raw")
    damage(store.path / "shard-00000.h5", "cé1.png".encode(), b"c\xff\xff1.png")
    with pytest.raises(EpisodesError, match="shard-00000.h5 is damaged .an image id is not text"):
        Store(store.path).ids(np.arange(20))


def test_what_the_writers_refuse(tmp_path: Path) -> None:
    def new(container: str, encoding: str, shape: tuple[int, int, int] | None) -> object:
        return writer(
            tmp_path, container, encoding, shape, rows=2, dataset="made", class_names=["a"]
        )

    with pytest.raises(UsageError, match="unknown format 'hdf': did you mean 'hdf5'"):
        new("hdf", "raw", (2, 2, 1))
    with pytest.raises(UsageError, match="unknown encoding 'jpeg'"):
        new("hdf5", "jpeg", (2, 2, 1))
    with pytest.raises(UsageError, match="give one --size"):
        new("hdf5", "raw", None)
    two = writer(tmp_path, "hdf5", "raw", (2, 2, 1), rows=2, dataset="made", class_names=["a"])
    two.append(0, ["1"], np.zeros((1, 2, 2, 1), np.uint8))
    with pytest.raises(ValueError, match="1 of the promised rows did not come"):
        two.finish()
    with pytest.raises(ValueError, match="1 rows at most"):
        two.append(0, ["2", "3"], np.zeros((2, 2, 2, 1), np.uint8))


OPENED = """
import sys
import numpy as np
from pathlib import Path
from episodes.store import Store

Store(Path(sys.argv[1])).ids(np.array([0]))
assert not {"PIL", "webdataset", "datasets", "h5py", "torch"} & set(sys.modules)
"""


@EVERY_FORMAT
def test_opening_loads_no_other_library(tmp_path: Path, container: str, encoding: str) -> None:
    store = make(tmp_path / "made", container, encoding)
    subprocess.run([sys.executable, "-c", OPENED, store.path], check=True)


def test_what_to_type_to_make_it_again(tmp_path: Path) -> None:
    store = make(tmp_path / "made", "webdataset", "raw")
    described = replace(
        store.info,
        preprocessing={
            "size": 84,
            "resize": "bicubic",
            "crop": "box",
            "rotations": True,
            "twins": "dropped",
        },
        partial=True,
        skipped=({"class": "ant", "id": "x", "reason": "cut"},),
    )
    assert described.command_to_replace(Path("my stores/cub")) == (
        "`episodes prepare made --size 84 --resize bicubic --rotations --crop box --drop-twins "
        "--format webdataset --partial --skip-corrupt --out 'my stores/cub' --force`"
    )
    originals = make(tmp_path / "originals", "hdf5", "original")
    assert originals.info.command_to_replace(Path("here")) == (
        "`episodes prepare made --encoding original --out here --force`"
    )


def test_marks_say_what_is_not_there(tmp_path: Path) -> None:
    info = make(tmp_path / "made", "hdf5", "raw").info
    assert info.marks == ()
    missing = {
        "images": 11588,
        "images_expected": 11788,
        "classes": 190,
        "classes_expected": 200,
    }
    skipped = {"class": "ant", "id": "x.png", "reason": "cut"}
    assert replace(info, partial=True, missing=missing, skipped=(skipped,)).marks == (
        "partial: 200 of 11,788 images, 10 of 200 classes",
        "1 corrupt image skipped",
    )
    assert replace(info, skipped=(skipped,) * 3).marks == ("3 corrupt images skipped",)


@pytest.mark.parametrize("name", ["../shard-00000.h5", "/etc/passwd", "shard-00000.txt", ""])
def test_a_description_names_only_shards_beside_it(tmp_path: Path, name: str) -> None:
    store = make(tmp_path / "made", "hdf5", "raw")
    text = (store.path / "store.json").read_text()
    values = json.loads(text)
    values["shards"][0]["file"] = name
    del values["sha256"]
    values["sha256"] = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
    (store.path / "store.json").write_text(json.dumps(values))
    with pytest.raises(EpisodesError, match="store.json is damaged .* is not a shard's name"):
        Store(store.path)


def test_an_older_store_says_what_to_do(tmp_path: Path) -> None:
    store = make(tmp_path / "made", "hdf5", "raw")
    path = store.path / "store.json"
    path.write_text(path.read_text().replace("episodes-store/2", "episodes-store/1"))
    with pytest.raises(EpisodesError, match="format 'episodes-store/1'.*: prepare it again"):
        Store(store.path)


FULL_DISK = """
import resource, signal, sys
import numpy as np
from pathlib import Path
from episodes.store.shards import writer

container, encoding, folder = sys.argv[1:]
pixels = np.random.default_rng(0).integers(0, 256, (100, 100, 3), np.uint8)
rows = [pixels if encoding == "raw" else pixels.tobytes()] * 50
out = writer(
    Path(folder), container, encoding, pixels.shape, rows=50, dataset="d", class_names=["a"]
)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for limit in range(1_000, 1_509_000, 100_400):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        out.append(0, [str(row) for row in range(50)], rows)
        out.finish()
    except OSError as error:
        print(error.strerror)
        break
"""


@EVERY_FORMAT
def test_a_disk_that_is_full_is_an_os_error(tmp_path: Path, container: str, encoding: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", FULL_DISK, container, encoding, tmp_path],
        capture_output=True,
        text=True,
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "File too large\n", "")
