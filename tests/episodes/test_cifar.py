import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest

from episodes import manifest
from episodes.errors import EpisodesError
from episodes.manifest import PARTS, Manifest
from episodes.prepare import prepare
from tests.episodes.layouts import cifar, python2, small
from tests.episodes.layouts.reading import assert_same, read

TADAM = {  # superclass ids of TADAM's code
    "train": {1, 2, 3, 4, 5, 6, 9, 10, 15, 17, 18, 19},
    "val": {8, 11, 13, 16},
    "test": {0, 7, 12, 14},
}


def facts_of(dataset: str, source: str) -> Manifest:
    return small(manifest.load(dataset), source)


@pytest.mark.parametrize(("dataset", "source"), cifar.LAYOUTS)
def test_every_image_is_read(dataset: str, source: str, tmp_path: Path) -> None:
    facts = facts_of(dataset, source)
    expected = cifar.LAYOUTS[dataset, source](tmp_path, facts)
    assert len(expected) == facts.images == {100: 199, 10: 19}[len(facts.class_names)]
    assert_same(read(facts, tmp_path), expected)


@pytest.mark.parametrize("version", ["python", "binary"])
def test_the_extracted_archive_gives_the_same(version: str, tmp_path: Path) -> None:
    facts = facts_of("fc100", f"cifar-100-{version}")
    expected = cifar.LAYOUTS["fc100", f"cifar-100-{version}"](tmp_path, facts)
    archive = tmp_path / f"cifar-100-{version}.tar.gz"
    shutil.unpack_archive(archive, tmp_path, filter="data")
    archive.unlink()
    assert_same(read(facts, tmp_path), expected)


def test_both_archives_give_the_same_ids_and_pixels(tmp_path: Path) -> None:
    found, digests = [], set()
    for version in ("python", "binary"):
        facts = facts_of("cifar-fs", f"cifar-100-{version}")
        cifar.LAYOUTS["cifar-fs", f"cifar-100-{version}"](tmp_path, facts)
        found.append(read(facts, tmp_path))
        digests.add(prepare(facts, tmp_path, home=tmp_path / version, threads=1).digest)
    assert_same(found[0], found[1])
    assert len(digests) == 1
    assert {image_id.partition("-")[0] for _, image_id in found[0]} == {"train", "test"}


def repack(folder: Path, version: str, name: str, content: bytes | None) -> None:
    """Put other content in place of a file of the archive, or leave it out."""
    archive = folder / f"cifar-100-{version}.tar.gz"
    shutil.unpack_archive(archive, folder, filter="data")
    archive.unlink()
    path = folder / f"cifar-100-{version}" / name
    path.unlink() if content is None else path.write_bytes(content)


@pytest.mark.parametrize(
    ("version", "name", "content", "said"),
    [
        ("python", "meta", None, "fine label names"),
        ("python", "meta", {"fine_label_names": cifar.FINE_NAMES[::-1]}, "worm"),
        ("python", "meta", {"names": []}, "fine_label_names"),
        ("python", "test", None, "test"),
        ("python", "test", ["no", "dict"], "data"),
        ("python", "test", {"data": np.zeros((2, 99), np.uint8), "fine_labels": [1, 2]}, "3072"),
        ("python", "test", {"data": np.zeros((2, 3072)), "fine_labels": [1, 2]}, "uint8"),
        ("python", "test", {"data": np.zeros((2, 3072), np.uint8), "fine_labels": [1]}, "labels"),
        ("python", "test", {"data": np.zeros((1, 3072), np.uint8), "fine_labels": [100]}, "100"),
        ("python", "test", {"data": np.zeros((1, 3072), np.uint8), "fine_labels": ["a"]}, "labels"),
        ("binary", "fine_label_names.txt", None, "fine label names"),
        ("binary", "fine_label_names.txt", b"apple\n", "100"),
        ("binary", "test.bin", None, "test"),
        ("binary", "test.bin", bytes(3073), "3074"),
        ("binary", "test.bin", b"\x01\x64" + bytes(3072), "100"),
    ],
)
def test_an_archive_of_something_else_is_told(
    version: str, name: str, content: object, said: str, tmp_path: Path
) -> None:
    facts = facts_of("cifar-fs", f"cifar-100-{version}")
    cifar.LAYOUTS["cifar-fs", f"cifar-100-{version}"](tmp_path, facts)
    packed = content if isinstance(content, bytes | None) else python2.dumps(content)
    repack(tmp_path, version, name, packed)
    with pytest.raises(EpisodesError, match=said):
        read(facts, tmp_path)


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    facts = facts_of("cifar-fs", "cifar-100-binary")
    cifar.write_binary(tmp_path, facts)
    path = tmp_path / "cifar-100-binary.tar.gz"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(EpisodesError, match=r"cifar-100-binary.tar.gz.*again"):
        read(facts, tmp_path)
    path.write_bytes(gzip.compress(b"not a tar"))
    with pytest.raises(EpisodesError, match=r"cifar-100-binary.tar.gz.*again"):
        read(facts, tmp_path)


@pytest.mark.parametrize("labels", [list(range(16)), [0] * 34, [99] * 16])
def test_pickled_numbers_that_are_no_fine_labels_name_no_class(
    labels: list[int], tmp_path: Path
) -> None:
    """Numbers 0, 1, 2... of a split's own classes would be taken for other classes' labels."""
    facts = facts_of("cifar-fs", "metaoptnet-pickles")
    cifar.write_cifar_fs_pickles(tmp_path, facts)
    content = {"data": np.zeros((len(labels), 32, 32, 3), np.uint8), "labels": labels}
    (tmp_path / "CIFAR_FS_val.pickle").write_bytes(python2.dumps(content))
    with pytest.raises(EpisodesError, match=r"CIFAR_FS_val.pickle.*fine labels.*bertinetto.val"):
        read(facts, tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        7,
        {"data": np.zeros((2, 32, 32, 3), np.uint8)},
        {"data": np.zeros((2, 3072), np.uint8), "labels": [0, 1]},
        {"data": np.zeros((2, 32, 32, 3), np.uint8), "labels": [0]},
        {"data": np.zeros((2, 32, 32, 3), np.uint8), "labels": ["apple", "bear"]},
        {"data": np.zeros((2, 32, 32, 3), np.uint8), "labels": [[0], [1, 2]]},
        {"data": np.zeros((2, 32, 32, 3), np.uint8), "labels": [0.0, 1.0]},
    ],
)
def test_a_pickle_of_something_else_is_named(content: object, tmp_path: Path) -> None:
    facts = facts_of("cifar-fs", "metaoptnet-pickles")
    cifar.write_cifar_fs_pickles(tmp_path, facts)
    (tmp_path / "CIFAR_FS_val.pickle").write_bytes(python2.dumps(content))
    with pytest.raises(EpisodesError, match=r"CIFAR_FS_val.pickle is another pickle; expected"):
        read(facts, tmp_path)


def test_loose_pickles_of_fc100_are_read(tmp_path: Path) -> None:
    facts = facts_of("fc100", "metaoptnet-pickles")
    expected = cifar.write_fc100_zip(tmp_path, facts)
    shutil.unpack_archive(tmp_path / "fc100.zip", tmp_path)
    (tmp_path / "fc100.zip").unlink()
    assert_same(read(facts, tmp_path), expected)


def test_fc100_is_split_by_superclass() -> None:
    facts = manifest.load("fc100")
    for part, superclasses in TADAM.items():
        expected = {name for name, coarse in cifar.COARSE_LABEL.items() if coarse in superclasses}
        indices = facts.schemes["tadam"].classes[part]
        assert {facts.class_names[index] for index in indices} == expected


def test_both_splits_are_of_all_fine_labels_in_their_order() -> None:
    sizes = {"cifar-fs": [64, 16, 20], "fc100": [60, 20, 20]}
    for name, expected in sizes.items():
        facts = manifest.load(name)
        scheme = facts.schemes[facts.default_scheme]
        assert list(facts.class_names) == cifar.FINE_NAMES
        assert [len(scheme.classes[part]) for part in PARTS] == expected
        assert (facts.images, set(facts.class_images)) == (60_000, {600})
        assert (scheme.images or {}) == {
            part: 600 * count for part, count in zip(PARTS, expected, strict=True)
        }
