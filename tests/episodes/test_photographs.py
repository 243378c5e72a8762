"""Meta-Dataset's sources of photographs: their class ids and counts, packed and unpacked files."""

import hashlib
import json
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from episodes import manifest
from episodes.errors import EpisodesError
from episodes.manifest import PARTS, Manifest
from episodes.prepare import prepare
from tests.episodes.layouts import all_layouts, coco, fungi, small
from tests.episodes.layouts.reading import assert_same, read

# Meta-Dataset's name; classes, images of each part; images of the least and the largest class; and
# the SHA-256 of the class names, a line each, in order of Meta-Dataset's class ids.
PUBLISHED = {
    "dtd": ("dtd", (33, 7, 7), (3960, 840, 840), (120, 120), "3e8853c4c461"),
    "vgg-flower": ("vgg_flower", (71, 15, 16), (5655, 1109, 1425), (40, 258), "608d236a7492"),
    "fungi": ("fungi", (994, 200, 200), (64449, 12195, 13116), (6, 442), "216e957adc8b"),
    "traffic-sign": ("traffic_sign", (0, 0, 43), (0, 0, 39209), (210, 2250), "fd7bc1d2f50a"),
    "mscoco": ("mscoco", (0, 40, 40), (0, 513021, 346980), (198, 262465), "4ae00bc4637d"),
}
LAYOUTS = {key: writer for key, writer in all_layouts().items() if key[0] in PUBLISHED}
LAYOUTS |= {
    ("fungi", "data-root"): fungi.write_data_root,
    ("mscoco", "data-root"): coco.write_data_root,
}


def few(dataset: str, source: str) -> Manifest:
    """The dataset with a few images a class."""
    return small(manifest.load(dataset), source)


@pytest.mark.parametrize("dataset", PUBLISHED)
def test_classes_and_counts_are_the_published_ones(dataset: str) -> None:
    theirs, classes, images, extremes, names_sha256 = PUBLISHED[dataset]
    facts = manifest.load(dataset)
    counts = [count or 0 for count in facts.class_images]
    scheme = facts.schemes["meta-dataset"]
    assert facts.default_scheme == "meta-dataset"
    assert tuple(len(scheme.classes[part]) for part in PARTS) == classes
    assert tuple(sum(counts[c] for c in scheme.classes[part]) for part in PARTS) == images
    assert scheme.images == dict(zip(PARTS, images, strict=True))
    assert (sum(counts), min(counts), max(counts)) == (sum(images), *extremes)
    names = "".join(f"{name}\n" for name in facts.class_names)
    assert hashlib.sha256(names.encode()).hexdigest().startswith(names_sha256)
    assert facts.meta_dataset is not None and facts.meta_dataset.name == theirs


@pytest.mark.parametrize("dataset", PUBLISHED)
def test_class_ids_are_meta_datasets_own(dataset: str) -> None:
    """The parts follow each other in the class table, so that its rows are Meta-Dataset's ids."""
    facts = manifest.load(dataset)
    classes = facts.schemes["meta-dataset"].classes
    assert [row for part in PARTS for row in classes[part]] == list(range(len(facts.class_names)))
    assert facts.meta_dataset is not None
    assert list(facts.meta_dataset.class_order) == list(range(len(facts.class_names)))


@pytest.mark.real_data
@pytest.mark.parametrize("dataset", PUBLISHED)
def test_class_table_is_the_published_list_in_its_order(archives: Path, dataset: str) -> None:
    lists = archives.parent / "specs" / "splits"
    if not lists.is_dir():
        pytest.skip("the published lists are not beside the archives")
    theirs = PUBLISHED[dataset][0]
    published = json.loads((lists / f"{theirs}.meta-dataset.json").read_text())
    counts = json.loads((lists / "meta-dataset.images_per_class.json").read_text())
    facts = manifest.load(dataset)
    assert list(facts.class_names) == [name for part in PARTS for name in published[part]]
    assert list(facts.class_images) == counts[theirs]


@pytest.mark.parametrize("key", LAYOUTS, ids=":".join)
def test_unpacked_archives_give_the_same_images(key: tuple[str, str], tmp_path: Path) -> None:
    facts = few(*key)
    if key[0] == "fungi":  # its 1,394 classes are read whole elsewhere
        facts = first_classes(facts, 20)
    expected = LAYOUTS[key](tmp_path, facts)
    assert_same(read(facts, tmp_path), expected)
    for path in list(tmp_path.iterdir()):
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                archive.extractall(tmp_path)
        elif path.suffix in (".tgz", ".gz") and path.name != "train_val_annotations.tgz":
            with tarfile.open(path) as tar:
                tar.extractall(tmp_path, filter="data")
        else:
            continue
        path.unlink()
    assert_same(read(facts, tmp_path), expected)


@pytest.mark.parametrize("key", LAYOUTS, ids=":".join)
def test_a_folder_without_the_files_is_told_what_to_fetch(
    key: tuple[str, str], tmp_path: Path
) -> None:
    facts = few(*key)
    first = facts.sources[0].files[0]
    with pytest.raises(EpisodesError) as caught:
        prepare(facts, tmp_path, home=tmp_path / "home")
    message = str(caught.value)
    assert first.name in message and first.urls[0] in message and "\n" not in message


@pytest.mark.parametrize("dataset", ["vgg-flower", "mscoco"])
def test_files_without_which_no_image_has_a_class_are_asked_for_even_of_a_part(
    dataset: str, tmp_path: Path
) -> None:
    facts = few(dataset, manifest.load(dataset).sources[0].name)
    LAYOUTS[dataset, facts.sources[0].name](tmp_path, facts)
    labels = facts.sources[0].files[1]
    (tmp_path / labels.name).unlink()
    with pytest.raises(EpisodesError, match=labels.name):
        prepare(facts, tmp_path, home=tmp_path / "home", partial=True)


def first_classes(facts: Manifest, count: int) -> Manifest:
    """`facts` of its first `count` classes alone, without splits."""
    counts = facts.class_images[:count]
    return replace(
        facts,
        class_names=facts.class_names[:count],
        class_images=counts,
        images=sum(entry or 0 for entry in counts),
        schemes={},
    )
