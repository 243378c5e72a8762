import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import episodes
from episodes.errors import EpisodesError, UsageError
from episodes.own.collection import Collection
from episodes.own.folder import images_in_folder
from episodes.own.preparing import prepare_own
from episodes.store import Store


def picture(
    path: Path, mode: str = "RGB", size: tuple[int, int] = (9, 7), **options: object
) -> Path:
    """An image of noise that its path decides."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(list(str(path.name).encode()))
    if mode == "I;16":
        pixels = noise.integers(0, 65536, (size[1], size[0]), np.uint16)
        Image.fromarray(pixels).save(path, **options)
    else:
        bands = len(Image.new(mode, (1, 1)).getbands())
        pixels = noise.integers(0, 256, (size[1], size[0], bands), np.uint8)
        Image.frombytes(mode, size, pixels.tobytes()).save(path, **options)
    return path


def flowers(folder: Path) -> Path:
    """Four classes with odd names and files, and things that are no images."""
    for number in range(12):
        picture(folder / "aster, blue" / f"im{number}.jpg", size=(9 + number, 12))
    picture(folder / "ros\u00e9 \u82b1" / "a b.JPG", "CMYK", format="JPEG")
    picture(folder / "ros\u00e9 \u82b1" / "deep" / "er" / "sixteen.png", "I;16")
    picture(folder / "lily" / "one.png", "L")
    picture(folder / "lily" / "same.png", "P")
    picture(folder / "lily" / "same.jpg")
    picture(folder / "lily" / "wrong.gif", format="PNG")
    picture(folder / "only" / "one.tif", "RGBA", format="TIFF")
    (folder / "empty").mkdir()
    for stray in (".DS_Store", "lily/Thumbs.db", "lily/.hidden.jpg", "lily/notes.txt"):
        (folder / stray).write_text("stray")
    return folder


def expected(path: Path, size: int = 84) -> np.ndarray:
    """The image as Pillow makes it."""
    with Image.open(path) as image:
        if image.mode.startswith("I"):
            image = Image.fromarray((np.asarray(image).astype(int) // 256).astype(np.uint8))
        return np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR))


@pytest.fixture
def prepared(tmp_path: Path) -> Callable[..., Store]:
    def prepare(collection: Collection, name: str = "flowers", **options: object) -> Store:
        return prepare_own(collection, name=name, home=tmp_path / "home", **options)  # type: ignore[arg-type]

    return prepare


def test_every_image_of_every_class_is_there(tmp_path: Path, prepared) -> None:
    folder = flowers(tmp_path / "flowers")
    found = images_in_folder(folder)
    assert found.notes == (
        "passed over 4 file(s) that are hidden or have no image's suffix: "
        ".DS_Store, .hidden.jpg, Thumbs.db and 1 more",
        "passed over 1 class folder(s) without images: empty",
    )
    store = prepared(found)
    assert store.class_names == ("aster, blue", "lily", "only", "ros\u00e9 \u82b1")
    assert list(store.class_sizes) == [12, 4, 1, 2]
    rows = np.arange(19)
    ids = store.ids(rows)
    assert ids[:3] == ["im0.jpg", "im1.jpg", "im2.jpg"] and ids[11] == "im11.jpg"
    assert ids[-2:] == ["a b.JPG", "deep/er/sixteen.png"]
    names = np.repeat(store.class_names, store.class_sizes)
    for row, image in enumerate(store.images(rows)):
        np.testing.assert_array_equal(image, expected(folder / names[row] / ids[row]))
    assert store.info.licence == "not stated" and not store.info.redistribution
    assert store.info.source == "folder" and store.info.homepage == "the folder flowers"
    assert store.default_scheme == "own"
    counts = [len(store.split_classes(part)) for part in ("train", "val", "test")]
    assert sum(counts) == 4 and min(counts) == 1
    card = (store.path / "card.md").read_text()
    assert "fractions 0.64, 0.16, 0.2 of the classes, seed 1" in card
    assert str(tmp_path) not in card + (store.path / "store.json").read_text()
    assert episodes.open("flowers", home=tmp_path / "home").digest == store.digest


def test_options_hold_for_own_data(tmp_path: Path, prepared) -> None:
    folder = flowers(tmp_path / "flowers")
    found = images_in_folder(folder)
    kept = prepared(found, encoding="original", licence="CC0")
    tars = prepared(found, encoding="original", container="webdataset", licence="CC0")
    assert kept.name == "flowers-original" and tars.name == "flowers-original-webdataset"
    assert kept.digest == tars.digest
    assert kept.encoded(3) == tars.encoded(3) == (folder / "aster, blue" / "im3.jpg").read_bytes()
    small = kept.at_size(20).images(np.array([0, 5]))
    np.testing.assert_array_equal(small[1], expected(folder / "aster, blue" / "im5.jpg", 20))
    grey = prepared(found, grey=True, size=8, resize="nearest", name="grey")
    assert grey.name == "grey-8px-by-nearest" and grey.image_shape == (8, 8, 1)
    turned = prepared(found, rotations=True, train=["lily"], test=["only"])
    assert len(turned.class_names) == 16
    assert [turned.class_names[index] for index in turned.split_classes("test")] == [
        f"only/rot{angle:03d}" for angle in (0, 90, 180, 270)
    ]


def test_a_divided_folder_is_its_own_split(tmp_path: Path, prepared) -> None:
    for part, name in (("train", "a"), ("train", "b"), ("validation", "c"), ("test", "d")):
        picture(tmp_path / "in" / part / name / "0.png")
    store = prepared(images_in_folder(tmp_path / "in"))
    assert store.info.splits == {"own": {"train": (0, 1), "val": (2,), "test": (3,)}}
    anew = prepared(images_in_folder(tmp_path / "in"), name="anew", fractions=(0.5, 0, 0.5))
    assert [len(anew.split_classes(part)) for part in ("train", "val", "test")] == [2, 0, 2]
    picture(tmp_path / "in" / "test" / "a" / "1.png")
    with pytest.raises(EpisodesError, match="the class 'a' is in .* a split divides classes"):
        images_in_folder(tmp_path / "in")


def test_classes_named_like_parts_that_hold_images_are_classes(tmp_path: Path) -> None:
    picture(tmp_path / "train" / "0.png")
    picture(tmp_path / "test" / "0.png")
    assert images_in_folder(tmp_path).class_names == {"train", "test"}


def test_links_are_followed(tmp_path: Path) -> None:
    picture(tmp_path / "elsewhere" / "x.png")
    picture(tmp_path / "in" / "a" / "0.png")
    (tmp_path / "in" / "b").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "a" / "1.png").symlink_to(tmp_path / "elsewhere" / "x.png")
    found = images_in_folder(tmp_path / "in")
    assert [(item.class_name, item.image_id) for item in found.items] == [
        ("a", "0.png"),
        ("a", "1.png"),
        ("b", "x.png"),
    ]


def break_by_loose_image(folder: Path) -> None:
    picture(folder / "loose.png")


def break_by_broken_link(folder: Path) -> None:
    (folder / "a" / "1.png").symlink_to(folder / "nowhere")


def break_by_loop(folder: Path) -> None:
    (folder / "a" / "back").symlink_to(folder / "a")


def break_by_tab(folder: Path) -> None:
    picture(folder / "a\tb" / "0.png")


def break_by_newline(folder: Path) -> None:
    picture(folder / "a" / "0\n1.png")


def break_by_bytes(folder: Path) -> None:
    (folder / "a" / os.fsdecode(b"\xff.png")).write_bytes(b"")


def break_by_emptiness(folder: Path) -> None:
    (folder / "a" / "0.png").unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (break_by_loose_image, "1 image(s) are in no class folder (FOLDER/loose.png): move them"),
        (break_by_broken_link, "FOLDER/a/1.png is a broken link or no file"),
        (break_by_loop, "FOLDER/a/back is a link to a folder that it is in"),
        (break_by_tab, "FOLDER: the class name 'a\\tb' holds control characters"),
        (break_by_newline, "FOLDER/a: the file name '0\\n1.png' holds control characters"),
        (break_by_bytes, "FOLDER/a: the file name '\\udcff.png' holds control characters or is"),
        (break_by_emptiness, "FOLDER holds no images: expected FOLDER/CLASS/*.jpg"),
    ],
)
def test_what_cannot_be_taken_is_told(
    tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    picture(tmp_path / "a" / "0.png")
    damage(tmp_path)
    with pytest.raises(EpisodesError) as raised:
        images_in_folder(tmp_path)
    assert str(raised.value).startswith(message.replace("FOLDER", str(tmp_path)))
    assert len(str(raised.value).splitlines()) == 1


def test_a_changed_folder_is_not_taken_for_the_same(tmp_path: Path, prepared) -> None:
    folder = flowers(tmp_path / "flowers")

    def again(**options: object) -> Store:
        return prepared(images_in_folder(folder), **options)

    before = again()
    assert again().digest == before.digest
    picture(folder / "lily" / "new.png")
    with pytest.raises(EpisodesError, match=r"\(1 image\(s\) more\): add --force to replace it"):
        again()
    picture(folder / "zinnia" / "0.png")
    with pytest.raises(EpisodesError, match=r"2 image\(s\) more, new classes: zinnia\)"):
        again()
    assert Store(before.path).digest == before.digest
    now = again(force=True)
    assert now.info.rows == before.info.rows + 2
    with pytest.raises(EpisodesError, match=r"\(another split of the classes\)"):
        again(train=["zinnia"], test=["lily"])
    with pytest.raises(EpisodesError, match=r"1 channel\(s\) instead of 3, the licence was"):
        again(grey=True, licence="CC0")
    picture(folder / "lily" / "new.png", size=(20, 20))
    with pytest.raises(EpisodesError, match=r"\(other images under the same names\)"):
        again()


def test_turned_classes_are_compared_by_their_own_names(tmp_path: Path, prepared) -> None:
    picture(tmp_path / "in" / "a" / "0.png")
    picture(tmp_path / "in" / "b" / "0.png")
    prepared(images_in_folder(tmp_path / "in"), rotations=True)
    prepared(images_in_folder(tmp_path / "in"), rotations=True)
    (tmp_path / "in" / "b" / "0.png").unlink()
    with pytest.raises(EpisodesError, match=r"\(1 image\(s\) fewer, classes gone: b\)"):
        prepared(images_in_folder(tmp_path / "in"), rotations=True)


def test_corrupt_images_are_named_or_skipped(tmp_path: Path, prepared) -> None:
    folder = flowers(tmp_path / "flowers")
    (folder / "lily" / "bad.jpg").write_bytes(b"no image")
    (folder / "sad").mkdir()
    (folder / "sad" / "empty.png").write_bytes(b"")
    found = images_in_folder(folder)
    with pytest.raises(EpisodesError, match=r"lily/bad\.jpg does not decode.*--skip-corrupt"):
        prepared(found)
    store = prepared(found, skip_corrupt=True)
    assert store.info.rows == 19 and "sad" not in store.class_names
    assert [(skipped["class"], skipped["id"]) for skipped in store.info.skipped] == [
        ("lily", "bad.jpg"),
        ("sad", "empty.png"),
    ]
    assert store.info.marks == ("2 corrupt images skipped",)
    assert prepared(found, skip_corrupt=True).digest == store.digest
    picture(folder / "lily" / "new.png")
    with pytest.raises(EpisodesError, match=r"\(1 image\(s\) more\)"):
        prepared(images_in_folder(folder), skip_corrupt=True)


def test_a_file_that_vanishes_stops_the_preparation(tmp_path: Path, prepared) -> None:
    found = images_in_folder(flowers(tmp_path / "flowers"))
    (tmp_path / "flowers" / "lily" / "one.png").unlink()
    with pytest.raises(EpisodesError, match=r"cannot read .*one\.png: No such file"):
        prepared(found)
    assert not (tmp_path / "home" / "stores" / "flowers").exists()


@pytest.mark.parametrize("name", ["", "a/b", "..", ".x", "a\\b", "a b", "-x", "a\n", "x" * 101])
def test_names_that_are_no_folders_are_refused(tmp_path: Path, prepared, name: str) -> None:
    picture(tmp_path / "a" / "0.png")
    with pytest.raises(UsageError, match="is not a plain one"):
        prepared(images_in_folder(tmp_path), name=name)


@pytest.mark.parametrize("name", ["omniglot", "omniglot-rotations"])
def test_names_of_shipped_datasets_are_refused(tmp_path: Path, prepared, name: str) -> None:
    picture(tmp_path / "a" / "0.png")
    with pytest.raises(UsageError, match="belongs to the shipped dataset omniglot"):
        prepared(images_in_folder(tmp_path), name=name)
