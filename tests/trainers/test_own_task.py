"""`trainers adapt`: a user's folders of pictures, classified; what is passed over, and refused."""

import csv
import io
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

import episodes
from tests.trainers.test_cli import error_line
from trainers import load
from trainers.cli import main
from trainers.own_images import OwnImages, OwnTask
from trainers.prediction_sheet import MOST_QUERY, RIGHT, WRONG, prediction_sheet, shown_order

SUPPORT = {"fox": (12, 2), "cat2": (13, 1), "cat10": (14, 3)}
"""Class folder -> class of the store, and how many images."""
CLASSES = ["cat2", "cat10", "fox"]


@pytest.fixture(scope="module")
def run(grey: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny ANIL of five rows."""
    out = tmp_path_factory.mktemp("runs") / "run"
    tiny = ("--filters", "4", "--query", "2", "--meta-batch-size", "2", "--episodes", "1")
    short = ("--iterations", "2", "--val-episodes", "1", "--threads", "1", "--out", str(out))
    result = CliRunner().invoke(main, ["run", "--dataset", str(grey), *tiny, *short])
    assert result.exit_code == 0, result.output
    return out


def write(grey: Path, folder: Path, classes: Mapping[str, tuple[int, int]], first: int) -> None:
    """Images of the store as PNG files in class folders."""
    store = episodes.open(grey)
    for name, (class_id, count) in classes.items():
        (folder / name).mkdir(parents=True)
        for i in range(first, first + count):
            pixels = store.images(np.array([store.class_starts[class_id] + i]))[0, ..., 0]
            Image.fromarray(pixels).save(folder / name / f"picture {i}.png")


@pytest.fixture
def folders(grey: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A support folder of 1 to 3 images a class, and a query folder of 4, 2 and 3."""
    support, query = tmp_path / "support", tmp_path / "query"
    write(grey, support, SUPPORT, first=0)
    write(grey, query, {"fox": (12, 4), "cat2": (13, 2), "cat10": (14, 3)}, first=3)
    return support, query


@pytest.fixture
def adapt(command: Callable[..., Result], run: Path, folders: tuple) -> Callable[..., Result]:
    """`trainers adapt` of the run on the folders, with further flags."""
    support, query = folders
    return lambda *flags, model=run: command(
        "adapt", model, "--support", support, "--query", query, *flags
    )


def rows(path: str = "adapted/predictions.csv") -> list[list[str]]:
    return list(csv.reader(Path(path).read_text().splitlines()))


def test_accuracy_counts_table_and_sheet(
    adapt: Callable[..., Result], run: Path, folders: tuple
) -> None:
    result = adapt()
    assert result.exit_code == 0, result.output
    support, query = (
        [
            np.asarray(Image.open(path))
            for name in CLASSES
            for path in sorted((folder / name).iterdir())
        ]
        for folder in folders
    )
    adapted = load(run).adapt(support, np.repeat([0, 1, 2], [1, 3, 2]))
    probabilities, truth = adapted.probabilities(query), np.repeat([0, 1, 2], [2, 3, 4])
    predicted = probabilities.argmax(1)

    header, *lines = rows()
    assert header == ["file", "predicted", "class", "p(cat2)", "p(cat10)", "p(fox)"]
    assert lines[0][0] == "cat2/picture 3.png" and len(lines) == 9
    assert [line[1] for line in lines] == [CLASSES[label] for label in predicted]
    assert [line[2] for line in lines] == [CLASSES[label] for label in truth]
    np.testing.assert_allclose(np.array(lines)[:, 3:].astype(float), probabilities, atol=1e-6)

    right = predicted == truth
    told = f"accuracy {100 * right.mean():.2f} % ({right.sum()} of 9), 3 classes -> "
    assert result.stdout.splitlines()[-1].startswith(told)
    of_fox = (
        f"  fox    2 labelled, {right[5:].sum()} of 4 right, {(predicted == 2).sum()} predicted"
    )
    assert of_fox in result.stdout.splitlines()
    assert "note: 3 classes use as many of the head's 5 rows" in result.stderr
    assert "note: the query images are normalised together, so" in result.stderr

    with Image.open("adapted/predictions.png") as sheet:
        colours = {colour for _, colour in sheet.getcolors(1 << 20)}
    shown = {name: tuple(bytes.fromhex(name[1:])) in colours for name in (RIGHT, WRONG)}
    assert shown == {RIGHT: bool(right.any()), WRONG: not right.all()}


def test_an_export_predicts_what_its_run_does(
    adapt: Callable[..., Result], command: Callable[..., Result], run: Path, tmp_path: Path
) -> None:
    assert command("export", run, "--out", tmp_path / "model").exit_code == 0
    assert adapt("--out", "of-run").exit_code == 0
    result = adapt("--out", "of-model", "--steps", 10, "--json", model=tmp_path / "model")
    assert rows("of-run/predictions.csv") == rows("of-model/predictions.csv")
    figures = json.loads(result.stdout)
    assert figures["query"] == 9 and figures["steps"] == 10 and figures["bn"] == "batch"
    assert figures["right"] == sum(counts["right"] for counts in figures["classes"].values())
    adapt("--steps", 1, "--bn", "support", "--out", "other")
    assert rows("other/predictions.csv") != rows("of-run/predictions.csv")


def test_colours_that_a_grey_model_does_not_see_are_told(
    adapt: Callable[..., Result], folders: tuple
) -> None:
    told = "note: the model was trained on 16 x 16 grey images of grey, to which the colour"
    path = folders[1] / "fox" / "picture 3.png"
    pixels = np.repeat(np.asarray(Image.open(path))[..., np.newaxis], 3, 2)
    Image.fromarray(pixels).save(path)  # Three channels alike are no colours.
    assert told not in adapt().stderr
    Image.fromarray(pixels // np.array([1, 2, 3], np.uint8)).save(path)
    assert told in adapt().stderr


def test_a_run_that_is_not_finished_is_told(
    adapt: Callable[..., Result], run: Path, tmp_path: Path
) -> None:
    half = shutil.copytree(run, tmp_path / "half")
    (half / "results.json").unlink()
    assert "half is not finished (iteration 2 of 2): its " in adapt(model=half).stderr


def test_loose_images_are_classified_without_a_truth(
    adapt: Callable[..., Result], folders: tuple
) -> None:
    _, query = folders
    for path in sorted(query.glob("*/*")):
        path.rename(query / f"{path.parent.name} {path.name}")
    for folder in [path for path in query.iterdir() if path.is_dir()]:
        folder.rmdir()
    result = adapt()
    assert result.exit_code == 0, result.output
    header, *lines = rows()
    assert header == ["file", "predicted", "p(cat2)", "p(cat10)", "p(fox)"]
    assert [line[0] for line in lines][:3] == [
        "cat2 picture 3.png",
        "cat2 picture 4.png",
        "cat10 picture 3.png",
    ]
    assert result.stdout.splitlines()[-1].startswith("9 images classified, 3 classes -> ")
    assert "right" not in result.stdout

    for path in sorted(query.iterdir())[1:]:
        path.unlink()
    assert "note: one query image alone is normalised by the support set" in adapt().stderr


def test_what_is_no_image_and_empty_classes_are_passed_over_and_noted(
    adapt: Callable[..., Result], folders: tuple
) -> None:
    adapt("--out", "before")
    support, query = folders
    (support / "bear").mkdir()
    (support / "fox" / ".hidden.png").touch()
    (support / "fox" / "notes.txt").touch()
    (query / "Thumbs.db").touch()
    shutil.copy(support / "fox" / "picture 0.png", query / "fox")
    result = adapt()
    assert result.exit_code == 0, result.output
    notes = result.stderr.splitlines()
    assert notes[0].startswith("note: --support: passed over 2 file(s) that are hidden or have no")
    assert notes[1] == "note: --support: passed over 1 class folder(s) without images: bear"
    assert notes[2].endswith("suffix: Thumbs.db")
    assert "note: 1 of the query images are in the support set too: they test" in notes[3]
    assert len(rows()) == len(rows("before/predictions.csv")) + 1


def test_images_that_do_not_decode_are_all_named(
    adapt: Callable[..., Result], folders: tuple
) -> None:
    support, _ = folders
    for name in ("cat2/broken.png", "fox/cut.png"):
        (support / name).write_bytes((support / "fox" / "picture 1.png").read_bytes()[:60])
    line = error_line(adapt(), 1)
    assert "cat2/broken.png does not decode" in line and "fox/cut.png does not decode" in line
    assert line.endswith("mend or remove the file(s)") and not Path("adapted").exists()


def test_folders_that_make_no_task_are_refused(
    adapt: Callable[..., Result], folders: tuple, tmp_path: Path
) -> None:
    support, query = folders
    (query / "cat2").rename(query / "cat3")
    assert "names the class 'cat3', which is not there: did you mean 'cat2'?" in error_line(
        adapt(), 2
    )
    shutil.rmtree(query)
    assert f"{query} is not a folder" in error_line(adapt(), 2)
    query.mkdir()
    assert f"{query} holds no images" in error_line(adapt(), 1)
    for name in ("cat2", "fox"):
        shutil.rmtree(support / name)
    assert "has images of one class alone (cat10)" in error_line(adapt(), 2)
    (support / "cat10").rename(tmp_path / "cat10")
    (support / "train").mkdir()
    (tmp_path / "cat10").rename(support / "train" / "cat10")
    assert f"give one of them, such as --support {support}/train" in error_line(adapt(), 2)


def test_more_classes_than_rows_are_refused(
    adapt: Callable[..., Result], folders: tuple, grey: Path
) -> None:
    support, _ = folders
    write(grey, support, {f"more{i}": (15 + i, 1) for i in range(3)}, first=0)
    line = error_line(adapt(), 2)
    assert "found 6 classes: the model was trained with --way 5" in line
    assert "give 5 classes or fewer, or train a run with --way 6" in line


def test_the_sheet_shows_the_wrong_and_the_least_certain_first() -> None:
    right, wrong, doubtful = [0.9, 0.1], [0.8, 0.2], [0.4, 0.6]
    probabilities = np.array([right, doubtful, wrong, right])
    assert shown_order(probabilities, np.array([0, 1, 1, 0])).tolist() == [2, 1, 0, 3]
    assert shown_order(probabilities, None).tolist() == [1, 2, 0, 3]


def test_a_sheet_shows_at_most_some_dozens() -> None:
    pixels = np.zeros((60, 8, 8, 3), np.uint8)
    few = OwnImages(("a", "b"), pixels[:2], np.array([0, 1]), ("a", "b"))
    many = OwnImages(tuple(map(str, range(60))), pixels, None, ("c",) * 60)
    task = OwnTask(("x" * 80, "y"), few, many, ())
    sheet, shown = prediction_sheet(task, np.full((60, 2), 0.5))
    assert shown == MOST_QUERY == 54
    width, height = Image.open(io.BytesIO(sheet)).size
    assert width < 1200 and height < 1500
