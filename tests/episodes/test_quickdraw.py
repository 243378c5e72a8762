"""Quick, Draw!: its table of files, and its arrays used where they lie or copied."""

import os
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import episodes
from episodes import manifest
from episodes.cli import main
from episodes.errors import EpisodesError, UsageError
from episodes.manifest import Manifest, Normalisation
from episodes.prepare import prepare
from episodes.store import Store
from tests.episodes.layouts import Images, small
from tests.episodes.layouts.quickdraw import HEADER_BYTES, header, write_bitmaps
from tests.episodes.layouts.reading import assert_same, read
from tests.episodes.made_stores import expected_digest

SHIPPED = manifest.load("quickdraw")


def of_sizes(*sizes: int) -> Manifest:
    """The first classes, of those sizes, two to train on and the rest to test with."""
    facts = small(SHIPPED, "bitmaps")
    scheme = facts.schemes["meta-dataset"]
    classes = {"train": (0, 1), "val": (), "test": tuple(range(2, len(sizes)))}
    (source,) = facts.sources
    files = tuple(replace(file, bytes=None, sha256=None) for file in source.files[: len(sizes)])
    return replace(
        facts,
        class_names=facts.class_names[: len(sizes)],
        class_images=sizes,
        images=sum(sizes),
        schemes={scheme.name: replace(scheme, classes=classes)},
        sources=(replace(source, files=files),),
    )


FEW = of_sizes(11, 2, 12, 3)  # more than ten, so that "10" comes after "9" and not after "1"


@pytest.fixture
def bitmaps(tmp_path: Path) -> Path:
    folder = tmp_path / "bitmaps"
    folder.mkdir()
    write_bitmaps(folder, FEW)
    return folder


def stacked(images: Images) -> np.ndarray:
    """All images in the order of classes and places, uint8 [n, 28, 28, 1]."""
    return np.stack(list(images.values()))[..., np.newaxis]


def test_the_files_are_those_of_the_counts() -> None:
    counts = [count or 0 for count in SHIPPED.class_images]
    assert (len(counts), sum(counts), min(counts), max(counts)) == (
        345,
        50_426_266,
        113_613,
        340_029,
    )
    (source,) = SHIPPED.sources
    assert [file.name for file in source.files] == [f"{name}.npy" for name in SHIPPED.class_names]
    sizes = [file.bytes for file in source.files]
    assert sizes == [HEADER_BYTES + 784 * count for count in counts]
    assert sum(size or 0 for size in sizes) == 39_534_220_144
    assert len({file.sha256 for file in source.files}) == 345
    wall = next(file for file in source.files if file.name == "The Great Wall of China.npy")
    assert wall.urls == (
        "https://storage.googleapis.com/quickdraw_dataset/full/numpy_bitmap/"
        "The%20Great%20Wall%20of%20China.npy",
    )


def test_the_split_has_the_published_counts() -> None:
    scheme = SHIPPED.schemes["meta-dataset"]
    sums = {
        part: sum(SHIPPED.class_images[index] or 0 for index in classes)
        for part, classes in scheme.classes.items()
    }
    assert sums == {"train": 34_776_331, "val": 7_939_640, "test": 7_710_295} == scheme.images
    # Meta-Dataset's class ids are the positions in its own lists: first train, then val, then test.
    assert [classes[0] for classes in scheme.classes.values()] == [0, 241, 293]
    assert SHIPPED.class_names[:3] == ("hedgehog", "swan", "police car")


def test_the_headers_here_are_numpys_own(tmp_path: Path) -> None:
    np.save(tmp_path / "new.npy", np.zeros((5, 784), np.uint8))
    written = np.lib.format.open_memmap(tmp_path / "new.npy")
    (tmp_path / "old.npy").write_bytes(header(5) + bytes(5 * 784))
    read_back = np.load(tmp_path / "old.npy")
    assert (read_back.shape, read_back.dtype) == (written.shape, written.dtype)


def test_every_drawing_is_read(bitmaps: Path, tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    assert_same(read(FEW, bitmaps), write_bitmaps(tmp_path / "again", FEW))


def test_arrays_are_used_where_they_lie(bitmaps: Path, tmp_path: Path) -> None:
    images = write_bitmaps(bitmaps, FEW)
    store = prepare(FEW, bitmaps, home=tmp_path)
    assert (store.name, store.info.container) == ("quickdraw", "npy")
    assert store.image_shape == (28, 28, 1)
    assert store.class_names == FEW.class_names
    assert tuple(store.class_sizes) == FEW.class_images
    shards = sorted(store.path.glob("shard-*"))
    assert [shard.readlink() for shard in shards] == [
        bitmaps / f"{name}.npy" for name in FEW.class_names
    ]
    rows = np.random.default_rng(0).permutation(28)
    np.testing.assert_array_equal(store.images(rows), stacked(images)[rows])
    assert store.ids(np.arange(28)) == [place for _, place in images]
    store.verify(deep=True)
    by_class = {
        name: {i: pixels[..., None] for (c, i), pixels in images.items() if c == name}
        for name in FEW.class_names
    }
    assert store.digest == expected_digest(by_class)


def test_a_copy_in_either_format_has_the_same_content(bitmaps: Path, tmp_path: Path) -> None:
    used = prepare(FEW, bitmaps, home=tmp_path)
    for container in ("hdf5", "webdataset"):
        copy = prepare(FEW, bitmaps, home=tmp_path, container=container, threads=1)
        assert copy.name == f"quickdraw-{container}"
        assert copy.digest == used.digest
        assert not any(path.is_symlink() for path in copy.path.iterdir())
        rows = np.array([27, 0, 13])
        np.testing.assert_array_equal(copy.images(rows), used.images(rows))
        assert copy.ids(rows) == used.ids(rows)
    prints = {store.stream("train", 2, 1, 1).fingerprint(20) for store in (used, copy)}
    assert len(prints) == 1


def test_another_size_is_a_copy_or_a_view(bitmaps: Path, tmp_path: Path) -> None:
    images = write_bitmaps(bitmaps, FEW)
    copy = prepare(FEW, bitmaps, home=tmp_path, size=42, threads=1)
    assert (copy.name, copy.info.container) == ("quickdraw-42px", "hdf5")
    view = prepare(FEW, bitmaps, home=tmp_path).at_size(42)
    assert view.image_shape == (42, 42, 1)
    rows = np.array([0, 27, 11])
    np.testing.assert_array_equal(view.images(rows), copy.images(rows))
    drawing = Image.fromarray(list(images.values())[27])
    expected = np.asarray(drawing.resize((42, 42), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(view.images(rows)[1, ..., 0], expected)
    with pytest.raises(UsageError, match="uses the source's arrays as they are: leave --size"):
        prepare(FEW, bitmaps, home=tmp_path, size=42, container="npy")


def test_a_view_in_colour_repeats_the_grey(bitmaps: Path, tmp_path: Path) -> None:
    store = prepare(FEW, bitmaps, home=tmp_path)
    grey, colour = store.at_size(84), episodes.open(store.path, size=84, channels=3)
    assert (grey.image_shape, colour.image_shape) == ((84, 84, 1), (84, 84, 3))
    rows = np.arange(28)
    np.testing.assert_array_equal(colour.images(rows), grey.images(rows).repeat(3, axis=3))
    views = (store, grey, colour, store.at_size(28, channels=3))
    assert len({view.digest for view in views}) == 4
    assert store.at_size(28, channels=1) is store
    assert colour.at_size(28).digest == store.digest
    again = pickle.loads(pickle.dumps(colour))
    assert (again.digest, again.image_shape) == (colour.digest, (84, 84, 3))
    assert colour.normalisation == Normalisation((0.5,) * 3, (0.5,) * 3, store.normalisation.source)
    first = colour.stream("train", 2, 1, 1, seed=3)[5]
    assert first.support_images.shape == (2, 84, 84, 3)
    with pytest.raises(UsageError, match="channels is 2; expected 1 or 3"):
        store.at_size(28, channels=2)


def test_a_part_is_marked(bitmaps: Path, tmp_path: Path) -> None:
    (bitmaps / "police car.npy").unlink()
    with pytest.raises(EpisodesError, match=r"holds no police car.npy: fetch https://.*car.npy"):
        prepare(FEW, bitmaps, home=tmp_path)
    store = prepare(FEW, bitmaps, home=tmp_path, partial=True)
    assert (store.name, len(store.class_names)) == ("quickdraw-partial", 3)
    assert store.info.marks == ("partial: 16 of 28 images, 3 of 4 classes",)
    assert [len(store.split_classes(part)) for part in ("train", "test")] == [2, 1]
    castles = np.load(bitmaps / "castle.npy").reshape(-1, 28, 28, 1)
    np.testing.assert_array_equal(store.images(np.arange(13, 16)), castles)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<html>Not found</html>", "is no .npy file"),
        (header(12, columns=783) + bytes(12 * 783), r"uint8 \[12, 783\]; expected .*, 784\]"),
        (header(12, dtype="<f4") + bytes(4 * 12 * 784), r"float32 \[12, 784\]; expected uint8"),
        (header(12) + bytes(11 * 784), "has 8704 bytes for 12 drawings; expected 9488"),
        (header(12) + bytes(13 * 784), "has 10272 bytes for 12 drawings; expected 9488"),
        (
            header(11) + bytes(11 * 784),
            "27 images of 4 classes; expected 28.*car: 11 of 12",
        ),
        (header(13) + bytes(13 * 784), "police car: 13 of 12.*: more than there should be"),
    ],
)
@pytest.mark.parametrize("container", ["npy", "hdf5"])
def test_a_file_of_something_else_is_named(
    bitmaps: Path, tmp_path: Path, content: bytes, said: str, container: str
) -> None:
    (bitmaps / "police car.npy").write_bytes(content)
    with pytest.raises(EpisodesError, match=said) as told:
        prepare(FEW, bitmaps, home=tmp_path, container=container, threads=1)
    assert "police car" in str(told.value) and "\n" not in str(told.value)
    assert not list((tmp_path / "stores").glob("[!.]*"))


def test_a_published_file_that_differs_is_damaged(bitmaps: Path, tmp_path: Path) -> None:
    (source,) = FEW.sources
    published = replace(source.files[0], bytes=HEADER_BYTES + 11 * 784, sha256="0" * 64)
    facts = replace(FEW, sources=(replace(source, files=(published, *source.files[1:])),))
    with pytest.raises(EpisodesError, match="hedgehog.npy is damaged: it has the original's size"):
        prepare(facts, bitmaps, home=tmp_path)


def test_files_that_change_or_vanish_are_told(bitmaps: Path, tmp_path: Path) -> None:
    store = prepare(FEW, bitmaps, home=tmp_path)
    path = bitmaps / "hedgehog.npy"
    whole = path.read_bytes()
    os.truncate(path, len(whole) - 1)
    with pytest.raises(EpisodesError, match="was changed while it was open"):
        store.images(np.array([0]))
    with pytest.raises(EpisodesError, match="has 8703 bytes; expected 8704"):
        Store(store.path)
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(EpisodesError, match="is damaged: its SHA-256 differs"):
        Store(store.path).verify()
    path.unlink()
    with pytest.raises(EpisodesError) as told:
        Store(store.path)
    assert f"(a link to {path}) cannot be read" in str(told.value)
    assert "--format npy --out" in str(told.value)


def test_replacing_and_deleting_a_store_leaves_the_files(bitmaps: Path, tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in bitmaps.iterdir()}
    prepare(FEW, bitmaps, home=tmp_path)
    store = prepare(FEW, bitmaps, home=tmp_path, force=True)
    shutil.rmtree(store.path)
    assert {path.name: path.read_bytes() for path in bitmaps.iterdir()} == before


def test_what_has_no_arrays_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="files of omniglot are no arrays .*: leave --format npy"):
        prepare("omniglot", tmp_path, home=tmp_path, container="npy")
    with pytest.raises(UsageError, match="uses the source's arrays .* and --encoding out"):
        prepare(FEW, tmp_path, home=tmp_path, container="npy", encoding="original")


def test_what_is_missing_is_told_in_a_line_of_some_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EPISODES_HOME", str(tmp_path / "home"))
    result = CliRunner().invoke(main, ["prepare", "quickdraw", "--offline"])
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert "quickdraw needs hedgehog.npy (94.5 MB, https://" in line
    assert "and 342 more files (39.2 GB): put what is missing into" in line
    assert len(line) < 800


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("", "files_table names a table without exactly the columns file, bytes, sha256"),
        ("file\tbytes\na.npy\t1\n", "without exactly the columns"),
        ("file\tbytes\tsha256\na.npy\t1\n", "without exactly the columns"),
        ("file\tbytes\tsha256\na.npy\tmany\tff\n", "without exactly the columns"),
        (None, "quickdraw.files.tsv is missing from"),
    ],
)
def test_a_wrong_table_of_files_names_file_and_key(
    tmp_path: Path, table: str | None, said: str
) -> None:
    for name in ("quickdraw.toml", "quickdraw.classes.tsv"):
        shutil.copy(manifest.folder() / name, tmp_path)
    if table is not None:
        (tmp_path / "quickdraw.files.tsv").write_text(table)
    with pytest.raises(EpisodesError, match=said):
        manifest.parse(tmp_path / "quickdraw.toml")


def test_the_table_of_files_is_part_of_the_manifests_digest(tmp_path: Path) -> None:
    for name in ("quickdraw.toml", "quickdraw.classes.tsv", "quickdraw.files.tsv"):
        shutil.copy(manifest.folder() / name, tmp_path)
    assert manifest.parse(tmp_path / "quickdraw.toml").digest == SHIPPED.digest
    table = tmp_path / "quickdraw.files.tsv"
    table.write_text(table.read_text().replace("a3529a8f", "b3529a8f"))
    assert manifest.parse(tmp_path / "quickdraw.toml").digest != SHIPPED.digest
