import hashlib
import shutil
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from episodes import manifest, readers
from episodes.errors import EpisodesError
from episodes.manifest import PARTS, Manifest
from episodes.readers.ilsvrc import files_of_table
from tests.episodes.layouts import Images, imagenet, miniimagenet, python2, small
from tests.episodes.layouts.reading import assert_same, read

TABLE = "miniimagenet.ilsvrc-files.tsv.gz"


def facts_of(dataset: str, source: str) -> Manifest:
    return small(manifest.load(dataset), source)


@pytest.mark.parametrize(("dataset", "source"), miniimagenet.LAYOUTS)
def test_every_image_is_read(dataset: str, source: str, tmp_path: Path) -> None:
    facts = facts_of(dataset, source)
    expected = miniimagenet.LAYOUTS[dataset, source](tmp_path, facts)
    assert len(expected) == facts.images == 199
    assert_same(read(facts, tmp_path), expected)


@pytest.mark.parametrize(
    "source", [source for name, source in miniimagenet.LAYOUTS if name == "miniimagenet"]
)
def test_a_folder_is_taken_for_what_it_is(source: str, tmp_path: Path) -> None:
    miniimagenet.LAYOUTS["miniimagenet", source](tmp_path, facts_of("miniimagenet", source))
    there = [
        entry.name
        for entry in manifest.load("miniimagenet").sources
        if readers.is_there(entry, tmp_path)
    ]
    assert there[0] == source


@pytest.fixture
def jpegs(tmp_path: Path) -> tuple[Manifest, Path, Images]:
    """Ravi-named JPEGs, all in one folder."""
    facts = facts_of("miniimagenet", "ravi-jpegs")
    expected = miniimagenet.write_jpegs(tmp_path, facts)
    with zipfile.ZipFile(tmp_path / "images.zip") as archive:
        archive.extractall(tmp_path)
    (tmp_path / "images.zip").unlink()
    return facts, tmp_path / "images", expected


def test_jpegs_may_lie_anywhere_in_a_folder(jpegs: tuple[Manifest, Path, Images]) -> None:
    facts, folder, expected = jpegs
    assert_same(read(facts, folder), expected)
    for number, path in enumerate(sorted(folder.glob("*.jpg"))):
        nested = folder / ("train" if number % 3 else "val") / path.name[:9]
        nested.mkdir(parents=True, exist_ok=True)
        path.rename(nested / path.name)
    (folder / "train.csv").write_text("filename,label\n")
    assert_same(read(facts, folder), expected)
    assert_same(read(facts, folder.parent), expected)


def test_jpegs_may_lie_in_any_archive(jpegs: tuple[Manifest, Path, Images], tmp_path: Path) -> None:
    facts, folder, expected = jpegs
    with tarfile.open(tmp_path / "mini-ImageNet.tar", "w") as tar:
        tar.add(folder, "mini/all")
    shutil.rmtree(folder)
    (tmp_path / "another.zip").write_bytes(b"PK but no zip")
    assert_same(read(facts, tmp_path), expected)


def test_jpegs_of_another_kind_are_not_taken_for_them(tmp_path: Path) -> None:
    (source,) = facts_of("miniimagenet", "ravi-jpegs").sources
    for name in ("n01532829_28.JPEG", "n0153282900000005.JPG", "xn0153282900000005.jpg"):
        (tmp_path / name).write_bytes(b"image")
    assert not readers.is_there(source, tmp_path)


@pytest.fixture
def pickled(tmp_path: Path) -> tuple[Manifest, Path]:
    """The pickles, but with their validation file named as in the archive."""
    facts = facts_of("miniimagenet", "cached-pickles")
    miniimagenet.write_pickles(tmp_path, facts)
    path = tmp_path / "mini-imagenet-cache-validation.pkl"
    return facts, path.rename(tmp_path / "mini-imagenet-cache-val.pkl")


def test_pickles_of_either_name_are_read(pickled: tuple[Manifest, Path], tmp_path: Path) -> None:
    facts, _ = pickled
    _, expected = miniimagenet.pickles(facts, {part: part for part in PARTS})
    assert_same(read(facts, tmp_path), expected)
    archive = facts_of("miniimagenet", "cached-pickles-archive")
    assert_same(read(archive, tmp_path), expected)


PIXELS = np.zeros((4, 6, 8, 3), np.uint8)


@pytest.mark.parametrize(
    "content",
    [
        [],
        {"image_data": PIXELS},
        {"image_data": PIXELS[0], "class_dict": {"n01855672": [0]}},
        {"image_data": PIXELS.astype(np.float32), "class_dict": {"n01855672": [0, 1, 2, 3]}},
        {"image_data": "pixels", "class_dict": {"n01855672": [0, 1, 2, 3]}},
        {"image_data": PIXELS, "class_dict": [0, 1, 2, 3]},
        {"image_data": PIXELS, "class_dict": {"n01855672": [0, 1, 2]}},
        {"image_data": PIXELS, "class_dict": {"n01855672": [0, 1, 2, 4]}},
        {"image_data": PIXELS, "class_dict": {"n01855672": [0, 1, 2, 3, 3]}},
        {"image_data": PIXELS, "class_dict": {"n01855672": [0, 1, 2, "3"]}},
        {"image_data": PIXELS, "class_dict": {"n01855672": 4}},
    ],
)
def test_a_pickle_of_something_else_is_named(
    pickled: tuple[Manifest, Path], content: object, tmp_path: Path
) -> None:
    facts, path = pickled
    path.write_bytes(python2.dumps(content))
    with pytest.raises(EpisodesError, match=r"mini-imagenet-cache-val.pkl.*expected"):
        read(facts, tmp_path)


@pytest.mark.parametrize("row", ["<html>", "n01614925_1001.JPEG", "n01614925,n01614925_1001.JPEG"])
def test_a_list_of_something_else_is_named(row: str, tmp_path: Path) -> None:
    facts = facts_of("miniimagenet-vinyals", "ilsvrc-train")
    miniimagenet.write_vinyals(tmp_path, facts)
    with (tmp_path / "vinyals-val.csv").open("a") as file:
        file.write(row + "\n")
    with pytest.raises(EpisodesError, match=r"vinyals-val.csv: line \d+ is .*fetch the file again"):
        read(facts, tmp_path)


def test_without_its_lists_the_vinyals_split_is_not_there(tmp_path: Path) -> None:
    facts = facts_of("miniimagenet-vinyals", "ilsvrc-train")
    miniimagenet.write_vinyals(tmp_path, facts)
    (tmp_path / "vinyals-test.csv").unlink()
    assert not readers.is_there(facts.sources[0], tmp_path)


def test_the_cmyk_image_is_among_them(tmp_path: Path) -> None:
    facts = facts_of("miniimagenet", "ilsvrc-train")
    where = facts.class_names.index("n04596742")
    few = replace(facts, class_names=("n04596742",), class_images=facts.class_images[where:][:1])
    miniimagenet.write_ilsvrc(tmp_path, few)
    image = read(few, tmp_path)["n04596742", "n0459674200000231.jpg"]
    assert image == imagenet.image_file("n04596742_4225.JPEG", 1)


def test_the_manifest_vouches_for_the_file_table() -> None:
    (source,) = facts_of("miniimagenet", "ilsvrc-train").sources
    packed = (manifest.folder() / TABLE).read_bytes()
    assert source.parameters["table"] == TABLE
    assert source.parameters["table_sha256"] == hashlib.sha256(packed).hexdigest()


def test_the_file_table_follows_the_rank_rule() -> None:
    files = files_of_table(manifest.folder() / TABLE)
    assert files["n01532829"]["n01532829_28.JPEG"] == "n0153282900000005.jpg"
    assert files["n01532829"]["n01532829_47.JPEG"] == "n0153282900000006.jpg"
    assert files["n01532829"]["n01532829_55.JPEG"] == "n0153282900000007.jpg"
    assert files["n04596742"]["n04596742_4225.JPEG"] == "n0459674200000231.jpg"

    facts, whole = manifest.load("miniimagenet"), manifest.load("imagenet")
    sizes = dict(zip(whole.class_names, whole.class_images, strict=True))
    assert tuple(files) == facts.class_names
    last = 0
    for class_name, names in files.items():
        numbers = [int(name.removeprefix(f"{class_name}_")[:-5]) for name in names]
        ranks = [int(name.removeprefix(class_name)[:-4]) for name in names.values()]
        assert len(set(numbers)) == len(set(ranks)) == 600
        assert (numbers, ranks) == (sorted(numbers), sorted(ranks)) and ranks[0] >= 1
        assert ranks[-1] <= (sizes[class_name] or 0)
        last += ranks[-1] == sizes[class_name]
    assert last == 53


def shared(one: Manifest, scheme: str, other: Manifest, other_scheme: str) -> list[list[int]]:
    """How many classes each part of one split shares with each part of another."""
    parts = [
        [{facts.class_names[index] for index in split.classes[part]} for part in PARTS]
        for facts, split in ((one, one.schemes[scheme]), (other, other.schemes[other_scheme]))
    ]
    return [[len(ours & theirs) for theirs in parts[1]] for ours in parts[0]]


def test_the_splits_overlap_as_published() -> None:
    mini, vinyals = manifest.load("miniimagenet"), manifest.load("miniimagenet-vinyals")
    for facts, sizes in ((mini, [64, 16, 20]), (vinyals, [60, 20, 20])):
        scheme = facts.schemes[facts.default_scheme]
        assert [len(scheme.classes[part]) for part in PARTS] == sizes
        assert (facts.images, set(facts.class_images)) == (60_000, {600})
    tiered, whole = manifest.load("tieredimagenet"), manifest.load("imagenet")
    assert shared(mini, "ravi-larochelle", whole, "meta-dataset") == [
        [43, 10, 11],
        [10, 3, 3],
        [12, 6, 2],
    ]
    assert shared(mini, "ravi-larochelle", tiered, "ren2018") == [[17, 6, 13], [9, 1, 2], [5, 1, 4]]
    assert len(set(mini.class_names) & set(vinyals.class_names)) == 6
    assert set(vinyals.class_names) <= set(whole.class_names)
