"""What datasets and splits share: the published counts, and the rules on small examples."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from episodes import manifest
from episodes.manifest import PARTS, Identity, Twins
from episodes.overlaps import (
    Classes,
    Overlap,
    between,
    of_manifest,
    of_store,
    overlap_lines,
    overlap_report,
)
from tests.episodes.made_stores import Pixels, make_store


def shared(here: str, split: str, there: str, other: str) -> Overlap:
    ours = of_manifest(manifest.load(here), split)
    return between(ours, of_manifest(manifest.load(there), other))


def table(here: str, scheme: str, there: str, other: str) -> list[list[int]]:
    """Classes of each part of ours in each part of theirs."""
    return [
        [
            len(shared(here, f"{scheme}.{mine}", there, f"{other}.{theirs}").classes)
            for theirs in PARTS
        ]
        for mine in PARTS
    ]


def store_of(folder: Path, dataset: str, image_ids: dict[str, list[str]] | None = None):
    """A store with all classes and splits of a shipped dataset, of tiny images."""
    facts = manifest.load(dataset)
    black = np.zeros((1, 1, 3), np.uint8)
    images: Pixels = {
        name: dict.fromkeys((image_ids or {}).get(name, ["1.jpg"]), black)
        for name in facts.class_names
    }
    return make_store(
        folder,
        images,
        dataset=dataset,
        splits={name: dict(scheme.classes) for name, scheme in facts.schemes.items()},
        default_scheme=facts.default_scheme,
        identity=asdict(facts.identity) if facts.identity else None,
    )


def test_miniimagenet_and_tieredimagenet_share_the_published_numbers_of_classes() -> None:
    found = table("miniimagenet", "ravi-larochelle", "tieredimagenet", "ren2018")
    assert found == [[17, 6, 13], [9, 1, 2], [5, 1, 4]]
    found = table("miniimagenet", "ravi-larochelle", "imagenet", "meta-dataset")
    assert found == [[43, 10, 11], [10, 3, 3], [12, 6, 2]]
    vinyals = [
        shared("miniimagenet", f"ravi-larochelle.{mine}", "miniimagenet-vinyals", f"vinyals.{part}")
        for mine in PARTS
        for part in PARTS
    ]
    assert sum(len(overlap.classes) for overlap in vinyals) == 6


@pytest.mark.parametrize(
    ("split", "other", "count"),
    [
        ("closerlook.test", "frn.train", 50),
        ("frn.test", "closerlook.train", 50),
        ("closerlook.test", "feat.train", 24),
        ("closerlook.test", "closerlook.train", 0),
    ],
)
def test_the_splits_of_cub_leak_into_each_other(split: str, other: str, count: int) -> None:
    assert len(shared("cub", split, "cub", other).classes) == count


def test_cifar_fs_and_fc100_have_the_same_hundred_classes() -> None:
    found = table("cifar-fs", "bertinetto", "fc100", "tadam")
    assert [sum(row) for row in found] == [64, 16, 20]
    assert [sum(column) for column in zip(*found, strict=True)] == [60, 20, 20]


def test_the_twins_of_cub_are_found_from_either_side() -> None:
    pairs = [
        shared("cub", f"closerlook.{part}", "imagenet", "meta-dataset-v2.train").images
        for part in PARTS
    ]
    assert sum(map(len, pairs)) == 43
    back = shared("imagenet", "meta-dataset-v2.train", "cub", "closerlook.test").images
    assert {(cub, twin) for twin, cub in back} == set(pairs[2])
    # tieredImageNet has every image of its classes of ImageNet, and no list of twins of its own.
    assert len(shared("cub", "closerlook.test", "tieredimagenet", "ren2018.train").images) == 6
    assert shared("cub", "closerlook.test", "miniimagenet", "ravi-larochelle.train") == Overlap()


def test_classes_are_the_same_by_dataset_and_name_or_by_a_key_of_one_namespace() -> None:
    wordnet = Identity("wordnet", "(n[0-9]{3})")
    ours = Classes("a", ("n001-wren", "n002-owl", "toad"), wordnet)
    theirs = Classes("b", ("owl n002", "toad", "n003"), wordnet)
    assert between(ours, theirs).classes == (("n002-owl", "owl n002"),)
    assert between(ours, Classes("a", ("toad",), None)).classes == (("toad", "toad"),)
    assert between(ours, Classes("b", theirs.names, Identity("others", "(n[0-9]{3})"))) == Overlap()


def test_twins_count_where_their_class_is_on_the_other_side() -> None:
    ours = Classes("a", ("x/y",), None, Twins("b", {"x/y/1": "k/1", "x/y/2": "l/2", "z/3": "k/3"}))
    theirs = Classes("b", ("k",))
    assert between(ours, theirs).images == (("x/y/1", "k/1"),)
    assert between(theirs, ours).images == (("k/1", "x/y/1"),)
    assert between(ours, Classes("c", ("k",))).images == ()


def test_a_turned_class_is_the_class_that_it_was(tmp_path: Path) -> None:
    pixel = {"1.png": np.zeros((1, 1, 1), np.uint8)}
    names = [f"{name}/rot{turn}" for name in ("a", "b") for turn in ("000", "090", "180", "270")]
    splits = {"all": {"train": tuple(range(4)), "val": (), "test": (4, 5, 6, 7)}}
    turned = make_store(
        tmp_path / "turned",
        dict.fromkeys(names, pixel),
        splits=splits,
        preprocessing={"size": 1, "resize": "bilinear", "rotations": True},
    )
    assert of_store(turned, "train").names == ("a",)
    assert between(of_store(turned, "test"), Classes("made", ("a", "b"))).classes == (("b", "b"),)
    upright = make_store(tmp_path / "upright", dict.fromkeys(names, pixel), splits=splits)
    assert of_store(upright, "train").names == tuple(names[:4])


def test_the_report_of_cub_names_its_schemes_and_the_twins_that_it_has(tmp_path: Path) -> None:
    twins = manifest.load("cub").twins
    assert twins is not None
    by_class: dict[str, list[str]] = {}
    for image in sorted(twins.images)[:-1]:  # one was left out
        name, _, image_id = image.rpartition("/")
        by_class.setdefault(name, []).append(image_id)
    report = overlap_report(store_of(tmp_path / "cub", "cub", by_class))
    assert {
        "split": "closerlook.test",
        "classes": 50,
        "dataset": "cub",
        "other_split": "frn.train",
        "shared_classes": 50,
        "shared_images": 0,
    } in report
    with_imagenet = [entry for entry in report if entry["dataset"] == "imagenet"]
    assert sum(entry["shared_images"] for entry in with_imagenet) == 42
    assert {entry["dataset"] for entry in report} == {"cub", "imagenet", "tieredimagenet"} | {
        "miniimagenet-vinyals"
    }
    lines = overlap_lines(report, "cub")
    assert lines[0].startswith(
        "of the 50 classes of closerlook.test: 50 in frn.train, 50 in bi-frn"
    )
    assert len([line for line in lines if line.startswith("of the ")]) == 7
    assert len(lines) == 7 + 3


def test_the_lines_of_miniimagenet_are_one_a_dataset(tmp_path: Path) -> None:
    report = overlap_report(store_of(tmp_path / "mini", "miniimagenet"))
    lines = overlap_lines(report, "miniimagenet")
    expected = (
        "classes shared with tieredimagenet ren2018 (its train/val/test): "
        "train 17/6/13, val 9/1/2, test 5/1/4"
    )
    assert expected in lines
    assert len(lines) == 4


def test_a_dataset_of_ones_own_shares_nothing(tmp_path: Path) -> None:
    images = {"apple": {"1.png": np.zeros((1, 1, 3), np.uint8)}}
    assert overlap_report(make_store(tmp_path / "own", images, dataset="fruit")) == []
