"""Results say what their stores lack, and which of the test classes a run was trained on."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from episodes import manifest
from episodes.store import Store
from tests.episodes.made_stores import make_store
from trainers import marks, report
from trainers.config import complete

TINY = ("--iterations", 1, "--validate-every", 1, "--val-episodes", 1, "--episodes", 2)
FIVES = tuple(tuple(range(start, start + 5)) for start in (0, 5, 10))
MISSING = {"images": 90, "images_expected": 180, "classes": 5, "classes_expected": 20}


def birds(folder: Path, prefix: str = "n", **described: object) -> Path:
    """15 classes of 3 images; the second scheme trains on what the first one tests."""
    generator = np.random.default_rng(0)
    images = {
        f"{prefix}{number:03d}-bird": {
            f"{index}.png": generator.integers(0, 256, (16, 16, 1), np.uint8) for index in range(3)
        }
        for number in range(15)
    }
    splits = {
        "one": dict(zip(("train", "val", "test"), FIVES, strict=True)),
        "two": dict(zip(("test", "val", "train"), FIVES, strict=True)),
    }
    facts = {"name": folder.name, "dataset": folder.name, "splits": splits, "default_scheme": "one"}
    return make_store(folder, images, **facts | described).path


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with nothing to be said about it."""
    return birds(tmp_path_factory.mktemp("stores") / "birds")


@pytest.fixture
def train_on(command: Callable[..., Result]) -> Callable[..., Result]:
    def run(store: Path, *flags: object) -> Result:
        tiny = ("--filters", 2, "--query", 1, "--meta-batch-size", 1, "--threads", 1, *TINY)
        result = command("run", "--dataset", store, *tiny, "--out", "run", *flags)
        assert result.exit_code == 0, result.output
        return result

    return run


def line_of(results: dict) -> str:
    return report.final_line(results["test"], results["bn"], "PLACE", report.notes(results))


def evaluated(result: Result) -> dict:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_run_on_a_whole_store_says_nothing(
    train_on: Callable[..., Result], command: Callable[..., Result], whole: Path
) -> None:
    results = json.loads(train_on(whole, "--json").stdout)
    assert results["marks"] == {"training": [], "test": []} and "overlap" not in results
    assert line_of(results).endswith("(5-way 1-shot, bn batch) -> PLACE")
    again = evaluated(command("eval", "run", "--json"))
    assert again["marks"] == results["marks"]
    assert again["overlap"] == {
        "trained_on": "birds one.train",
        "classes": 0,
        "of_classes": 5,
        "images": 0,
    }
    assert line_of(again).endswith("(5-way 1-shot, bn batch) -> PLACE")


def test_a_partial_store_marks_every_result(
    train_on: Callable[..., Result], command: Callable[..., Result], tmp_path: Path, whole: Path
) -> None:
    skipped = ({"class": "n000-bird", "id": "9.png", "reason": "cut"},)
    partial = birds(tmp_path / "few", partial=True, missing=MISSING, skipped=skipped)
    mark = ["partial: 90 of 180 images, 15 of 20 classes", "1 corrupt image skipped"]
    results = json.loads(train_on(partial, "--json").stdout)
    assert results["marks"] == {"training": mark, "test": mark}
    told = "trained and tested on a store marked partial: 90 of 180 images, 15 of 20 classes, 1 "
    assert told in line_of(results)
    other = evaluated(command("eval", "run", "--dataset", whole, "--json"))
    assert other["marks"] == {"training": mark, "test": []}
    assert "; trained on a store marked partial: 90 of 180 images" in line_of(other)

    shutil.rmtree(partial)  # what config.toml recorded is still told
    other = evaluated(command("eval", "run", "--dataset", whole, "--json"))
    assert other["marks"]["training"] == mark


def test_a_partial_store_that_is_tested_on_is_told(
    train_on: Callable[..., Result], command: Callable[..., Result], tmp_path: Path, whole: Path
) -> None:
    train_on(whole)
    partial = birds(tmp_path / "few", partial=True, missing=MISSING)
    results = evaluated(command("eval", "run", "--dataset", partial, "--json"))
    assert "; tested on a store marked partial: 90 of 180 images" in line_of(results)


def test_classes_that_were_trained_on_under_another_scheme_are_counted(
    train_on: Callable[..., Result], command: Callable[..., Result], whole: Path
) -> None:
    train_on(whole, "--split", "two")
    refused = command("eval", "run", "--split", "one.test")
    assert refused.exit_code == 2
    result = command("eval", "run", "--split", "one.test", "--allow-overlap")
    warning = (
        "the run was trained, on birds two.train, on 5 of the 5 classes of birds one.test: "
        "this is no accuracy on new classes"
    )
    told = f"error: {warning}; choose another --dataset or --split, or add --allow-overlap"
    assert refused.stderr.splitlines()[-1] == told
    assert f"warning: {warning}" in result.stderr.splitlines()
    [written] = Path("run").glob("eval-*.json")
    results = json.loads(written.read_text())
    assert results["overlap"]["classes"] == 5
    assert "(5-way 1-shot, bn batch; trained on 5 of the 5 test classes) -> " in line_of(results)


def test_classes_of_another_dataset_are_known_by_their_identity(
    train_on: Callable[..., Result], command: Callable[..., Result], tmp_path: Path
) -> None:
    wordnet = {"namespace": "wordnet", "pattern": "(n[0-9]{3})"}
    trained = birds(tmp_path / "ours", identity=wordnet)
    train_on(trained)
    theirs = birds(tmp_path / "theirs", "also-n", identity=wordnet)
    others = birds(tmp_path / "others", "also-n")
    both = ("--dataset", theirs, "--dataset", others, "--split", "two.test")
    assert command("eval", "run", *both).exit_code == 2
    results = evaluated(command("eval", "run", *both, "--allow-overlap", "--json"))
    assert [each["overlap"]["classes"] for each in results] == [5, 0]


def test_what_is_not_known_is_said(
    train_on: Callable[..., Result], command: Callable[..., Result], tmp_path: Path, whole: Path
) -> None:
    gone = birds(tmp_path / "gone", "other")
    train_on(gone)
    shutil.rmtree(gone)
    results = evaluated(command("eval", "run", "--dataset", whole, "--json"))
    assert results["overlap"] is None
    assert results["warnings"][0] == (
        "whether the run was trained on classes of birds one.test is not known: "
        "the store of gone one.train is not there as it was"
    )
    assert "not known which of the classes were trained on" in line_of(results)


def test_the_same_images_divided_otherwise_are_another_store(
    train_on: Callable[..., Result], command: Callable[..., Result], tmp_path: Path
) -> None:
    divided = birds(tmp_path / "divided")
    train_on(divided, "--split", "one")
    shutil.rmtree(divided)
    other_way = {"one": dict(zip(("test", "val", "train"), FIVES, strict=True))}
    again = birds(tmp_path / "divided", splits=other_way)  # It would test on what it trained on.
    result = evaluated(command("eval", "run", "--json"))
    assert result["overlap"] is None
    assert "the store of divided one.train is not there as it was" in result["warnings"][0]
    refused = command("run", "--config", "run/config.toml", "--out", "second")
    assert refused.exit_code == 1
    assert f"the classes of {again.name} one are divided otherwise" in refused.stderr


def test_a_run_of_an_earlier_version_is_read(
    train_on: Callable[..., Result], command: Callable[..., Result], whole: Path
) -> None:
    results = json.loads(train_on(whole, "--json").stdout)
    config = Path("run/config.toml")
    text = config.read_text()
    later = re.compile("^(dataset_name|scheme|classes_digest) = .+\n", re.MULTILINE)
    assert len(later.findall(text)) == 3
    config.write_text(later.sub("", text))
    assert evaluated(command("eval", "run", "--json"))["overlap"]["classes"] == 0
    del results["marks"]
    assert line_of(results).endswith("(5-way 1-shot, bn batch) -> PLACE")


def test_a_shipped_dataset_whose_store_is_gone_is_known_by_its_manifest(tmp_path: Path) -> None:
    facts = manifest.load("cub")
    pixel = {"1.png": np.zeros((1, 1, 1), np.uint8)}
    tested = make_store(
        tmp_path / "cub-9px",
        dict.fromkeys(facts.class_names, pixel),
        dataset="cub",
        splits={name: dict(scheme.classes) for name, scheme in facts.schemes.items()},
        default_scheme=facts.default_scheme,
    )
    config = complete({"dataset": "cub", "split": "frn", "threads": 1}, {})
    recorded = {"name": "cub-box", "dataset_name": "cub", "digest": "another"}
    trained = marks.trained_on(config, recorded, [Store(tested.path)])
    shared = marks.overlap(trained, [tested], "closerlook.test")
    assert shared is not None and (shared["classes"], shared["of_classes"]) == (50, 50)
    assert shared["trained_on"] == "cub-box frn.train"


def test_images_that_have_twins_among_those_trained_on_are_told() -> None:
    shared = {"trained_on": "imagenet a.train", "classes": 0, "of_classes": 50, "images": 8}
    test = {"split": "closerlook.test"}
    assert report.notes({"test": test, "overlap": shared}) == ["trained on 8 of the test images"]
    trained = marks.Trained("imagenet a.train", None, ())
    [warning] = marks.warnings(trained, shared, "cub closerlook.test")
    assert warning.startswith("8 images of cub closerlook.test are also in classes of imagenet")
