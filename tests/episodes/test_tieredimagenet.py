from pathlib import Path

import pytest

from episodes import images, manifest, readers
from episodes.errors import EpisodesError
from episodes.manifest import Manifest
from tests.episodes.layouts import python2, small, tieredimagenet
from tests.episodes.layouts.reading import assert_same, read

PNG_START = b"\x89PNG\r\n"


def facts_of(source: str) -> Manifest:
    return small(manifest.load("tieredimagenet"), source)


@pytest.mark.parametrize("source", ["ilsvrc-train", "pickles", "pickles-archive"])
def test_every_image_is_read(source: str, tmp_path: Path) -> None:
    facts = facts_of(source)
    expected = tieredimagenet.LAYOUTS["tieredimagenet", source](tmp_path, facts)
    assert len(expected) == facts.images == 1215
    assert_same(read(facts, tmp_path), expected)


@pytest.mark.parametrize("folder", [".", "tiered-imagenet"])
def test_pickles_without_the_prefix_are_read(folder: str, tmp_path: Path) -> None:
    facts = facts_of("pickles-archive")
    files, expected = tieredimagenet.pickles(facts)
    (tmp_path / folder).mkdir(exist_ok=True)
    for name, content in files.items():
        (tmp_path / folder / name).write_bytes(content)
    assert_same(read(facts, tmp_path), expected)
    assert readers.is_there(facts_of("pickles").sources[0], tmp_path / folder)


def test_the_images_are_pngs_that_decode(tmp_path: Path) -> None:
    facts = facts_of("pickles")
    tieredimagenet.write_loose(tmp_path, facts)
    for image in list(read(facts, tmp_path).values())[:9]:
        assert isinstance(image, bytes) and image.startswith(PNG_START)
        assert images.decode(image, "it").shape == (6, 8, 3)


def test_a_name_that_two_classes_share_is_told_by_the_split(tmp_path: Path) -> None:
    facts = facts_of("pickles")
    tieredimagenet.write_loose(tmp_path, facts)
    classes = {class_name for class_name, _ in read(facts, tmp_path)}
    assert classes == set(facts.class_names)
    assert "n02012849" in classes and "n03126707" not in classes  # the crane that flies


def test_a_name_that_tells_no_class_is_refused(tmp_path: Path) -> None:
    facts = facts_of("pickles")
    tieredimagenet.write_loose(tmp_path, facts)
    names = tmp_path / "tiered-imagenet-class_names.txt"
    lines = names.read_text().splitlines()  # whose first two classes are in the same part
    names.write_text("\n".join([lines[1], *lines[1:]]) + "\n")
    with pytest.raises(EpisodesError, match=r"_labels.pkl: 'thing 01443537, it' names 2 classes"):
        read(facts, tmp_path)


def test_lists_of_different_lengths_are_refused(tmp_path: Path) -> None:
    facts = facts_of("pickles")
    tieredimagenet.write_loose(tmp_path, facts)
    with (tmp_path / "tiered-imagenet-synsets.txt").open("a") as file:
        file.write("n99999999\n")
    with pytest.raises(EpisodesError, match=r"611 .*612|612 .*611"):
        read(facts, tmp_path)


def test_images_without_a_label_are_refused(tmp_path: Path) -> None:
    facts = facts_of("pickles")
    tieredimagenet.write_loose(tmp_path, facts)
    (tmp_path / "tiered-imagenet-val_images_png.pkl").write_bytes(python2.dumps([]))
    with pytest.raises(EpisodesError, match=r"val_images_png.pkl.* 0 images.* 19. labels"):
        read(facts, tmp_path)


def test_the_class_table() -> None:
    facts = manifest.load("tieredimagenet")
    scheme = facts.schemes["ren2018"]
    assert {part: len(classes) for part, classes in scheme.classes.items()} == {
        "train": 351,
        "val": 97,
        "test": 160,
    }
    sizes = dict(zip(facts.class_names, facts.class_images, strict=True))
    assert sum(size or 0 for size in sizes.values()) == facts.images == 779_165
    for part, expected in {"train": 448_695, "val": 124_261, "test": 206_209}.items():
        found = sum(facts.class_images[index] or 0 for index in scheme.classes[part])
        assert found == expected == (scheme.images or {})[part]
    whole = manifest.load("imagenet")
    assert sizes.items() <= dict(zip(whole.class_names, whole.class_images, strict=True)).items()
