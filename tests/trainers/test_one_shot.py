"""`trainers one-shot`: Lake's runs as they are read, a model's error, and what is refused."""

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from tests.episodes.made_stores import make_store
from tests.trainers.test_cli import error_line
from trainers import load
from trainers.cli import main
from trainers.lake_runs import PUBLISHED, fingerprint, read_runs

NAMES = [f"run{number:02d}" for number in range(1, 21)]
SWAPPED = "run03"
"""The run of which two test images have each other's label."""


def png(paper: np.ndarray) -> bytes:
    """A 1-bit PNG, as Omniglot's: ink is False."""
    file = io.BytesIO()
    Image.fromarray(paper).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def drawings() -> dict[str, np.ndarray]:
    """A drawing of each character of each run, bool `[105, 105]`, True on paper."""
    random = np.random.default_rng(0)
    names = (f"{run}/training/class{n:02d}.png" for run in NAMES for n in range(1, 21))
    blocks = {name: random.random((7, 7)) < 0.7 for name in names}
    return {name: np.kron(block, np.ones((15, 15), bool)) for name, block in blocks.items()}


@pytest.fixture(scope="module")
def files(drawings: Mapping[str, np.ndarray]) -> dict[str, bytes]:
    """A file of each name: test image n is that of the class 21 - n, but for two of `SWAPPED`."""
    found = {name: png(paper) for name, paper in drawings.items()}
    for run in NAMES:
        lines = []
        for item in range(1, 21):
            name = f"{run}/training/class{21 - item:02d}.png"
            found[f"{run}/test/item{item:02d}.png"] = found[name]
            told = {1: 19, 2: 20}.get(item, 21 - item) if run == SWAPPED else 21 - item
            lines.append(f"{run}/test/item{item:02d}.png {run}/training/class{told:02d}.png\n")
        found[f"{run}/class_labels.txt"] = "".join(lines).encode()
    return found


def packed(path: Path, files: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, files: Mapping[str, bytes]) -> Path:
    return packed(tmp_path_factory.mktemp("lake") / "all_runs.zip", files)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, grey: Path) -> Callable[[str], Path]:
    """Tiny runs by their algorithm, each trained once."""
    folder, short = tmp_path_factory.mktemp("runs"), "--iterations 1 --val-episodes 0 --episodes 1"
    tiny = f"run --dataset {grey} --filters 4 --query 2 --threads 1 {short}"

    def run(algorithm: str) -> Path:
        out = folder / algorithm
        if not out.exists():
            flags = f"{tiny} --algo {algorithm} --out {out}"
            result = CliRunner().invoke(main, flags.split())
            assert result.exit_code == 0, result.output
        return out

    return run


def test_runs_are_read_as_stores_of_omniglot_are_prepared(
    runs: Path, drawings: Mapping[str, np.ndarray], trained: Callable[[str], Path]
) -> None:
    read = read_runs(runs)
    assert [run.name for run in read] == NAMES
    assert read[0].labels.tolist() == list(range(19, -1, -1))
    assert read[2].labels.tolist()[:3] == [18, 19, 17]
    model = load(trained("protonet"))
    papers = [paper for name, paper in drawings.items() if name.startswith("run05/")]
    for image, paper in zip(read[4].support, papers, strict=True):
        ink = Image.fromarray(np.where(paper, 0, 255).astype(np.uint8))
        expected = np.asarray(ink.resize((16, 16), Image.Resampling.BILINEAR))
        np.testing.assert_array_equal(model.picture(image)[..., 0], expected)


def test_the_error_is_that_of_all_test_images(
    command: Callable[..., Result], trained: Callable[[str], Path], runs: Path
) -> None:
    model = trained("protonet")
    result = command("one-shot", model, runs)
    # Each test image is the training image of its class, but for the two labels of one run.
    deviation = np.std([18 / 20, *[1.0] * 19])
    interval = 100 * 1.96 * deviation / np.sqrt(20)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[2:4] == ["  run03   90 %", "  run04  100 %"]
    assert f"accuracy 99.50 ± {interval:.2f} % over 20 runs" in lines[-1]
    assert "error 0.50 % (2 of 400; bn batch) -> " in lines[-1]
    assert "are not those that Lake published" in result.stderr
    assert "note: the query images are normalised together" in result.stderr
    written = Path(lines[-1].rpartition(" -> ")[2])
    results = json.loads(written.read_text())
    assert written.parent == model and results["runs"]["run03"] == 0.9
    assert (results["right"], results["trials"]) == (398, 400)
    assert results["fingerprint"] == fingerprint(read_runs(runs))

    alone = json.loads(command("one-shot", model, runs, "--bn", "support", "--json").stdout)
    assert alone["notes"] == [] and alone["right"] == 398
    assert alone["file"] != results["file"]


def test_a_zip_and_its_folder_are_the_same_runs(
    runs: Path, files: Mapping[str, bytes], tmp_path: Path
) -> None:
    with zipfile.ZipFile(runs) as archive:
        archive.extractall(tmp_path / "here")
    (tmp_path / "here" / "run01" / ".DS_Store").write_text("left by a system")
    below = {f"all_runs/{name}": content for name, content in files.items()}
    below |= {f"__MACOSX/{name}/._item01.png": b"" for name in NAMES}
    again = packed(tmp_path / "again.zip", below)
    found = {fingerprint(read_runs(path)) for path in (runs, tmp_path / "here", again)}
    assert len(found) == 1
    changed = dict(files) | {"run01/training/class01.png": files["run02/training/class01.png"]}
    assert fingerprint(read_runs(packed(tmp_path / "changed.zip", changed))) not in found


LABELS = "run07/class_labels.txt"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("run03/test/item04.png", None, "lacks run03/test/item04.png: take python/one-shot-cl"),
        ("run03/test/item21.png", b"", "has run03/test/item21.png too; expected run01 to run20"),
        ("copy/run01/test/item01.png", b"", "has run01/test/item01.png twice"),
        ("run02/training/class05.png", b"PNG", "run02/training/class05.png does not decode"),
        (LABELS, b"", f"{LABELS} has 0 lines about 0 test images; expected a line for each of"),
        (LABELS, b"run07/test/item01.png\n", f"{LABELS} has the line 'run07/test/item01.png'; ex"),
        (
            LABELS,
            b"run07/test/item01.png run08/training/class01.png",
            "run08/training/class01.png'; expected such as 'run07/test/item01.png run07/training",
        ),
    ],
)
def test_what_is_no_such_folder_of_runs_is_named(
    command: Callable[..., Result],
    trained: Callable[[str], Path],
    files: Mapping[str, bytes],
    tmp_path: Path,
    name: str,
    content: bytes | None,
    message: str,
) -> None:
    changed = dict(files) | ({} if content is None else {name: content})
    if content is None:
        del changed[name]
    path = packed(tmp_path / "all.zip", changed)
    line = error_line(command("one-shot", trained("protonet"), path), 1)
    assert str(path) in line and message in line


def test_what_is_not_there_is_told(
    command: Callable[..., Result], trained: Callable[[str], Path], runs: Path
) -> None:
    line = error_line(command("one-shot", trained("protonet"), "all_runs.zip"), 2)
    assert "all_runs.zip is not there: take python/one-shot-classification/all_runs.zip" in line


def test_a_head_of_fewer_classes_is_refused(
    command: Callable[..., Result], trained: Callable[[str], Path], runs: Path
) -> None:
    line = error_line(command("one-shot", trained("anil"), runs), 2)
    assert "found 20 classes: the model was trained with --way 5, and under anil" in line


def test_a_model_of_the_evaluation_set_is_refused(
    command: Callable[..., Result], runs: Path, tmp_path: Path
) -> None:
    generator = np.random.default_rng(0)
    background = [f"images_background/Latin/character{n:02d}" for n in range(1, 7)]
    names = [*background, *(f"images_evaluation/Kannada/character{n:02d}" for n in range(1, 7))]
    images = {
        name: {f"{i}.png": generator.integers(0, 256, (16, 16, 1), np.uint8) for i in range(2)}
        for name in names
    }
    splits = {
        "lake": {"train": (*range(6),), "val": (), "test": (*range(6, 12),)},
        "mixed": {"train": (*range(2, 9),), "val": (), "test": (0, 1, 9, 10, 11)},
    }
    facts = {"name": "small", "dataset": "omniglot", "splits": splits, "default_scheme": "lake"}
    store = make_store(tmp_path / "small", images, **facts).path
    tiny = ("--filters", 2, "--query", 1, "--iterations", 1, "--episodes", 1, "--threads", 1)
    for scheme in splits:
        flags = ("--dataset", store, "--algo", "protonet", "--split", scheme, "--out", scheme)
        assert command("run", *flags, *tiny).exit_code == 0
    assert command("one-shot", "lake", runs).exit_code == 0
    line = error_line(command("one-shot", "mixed", runs), 2)
    told = (
        "the run was trained, on small mixed.train, on 3 of the 659 classes of omniglot lake.test"
    )
    assert line.startswith(told)
    assert line.endswith("train with --split lake, or add --allow-overlap")
    allowed = command("one-shot", "mixed", runs, "--allow-overlap")
    assert allowed.exit_code == 0 and f"warning: {told}" in allowed.stderr


@pytest.fixture
def published(archives: Path) -> Path:
    path = archives / "omniglot" / "all_runs.zip"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    return path


@pytest.mark.real_data
def test_the_published_runs_are_known(published: Path) -> None:
    assert fingerprint(read_runs(published)) == PUBLISHED


@pytest.mark.slow
@pytest.mark.real_data
def test_the_published_baseline_has_its_published_error(published: Path) -> None:
    """The authors' demonstration, the modified Hausdorff distance, has an error of 38.8 %."""

    def points(image: np.ndarray) -> np.ndarray:
        found = np.argwhere(image[..., 0] > 0).astype(float)
        return found - found.mean(0)

    def distance(a: np.ndarray, b: np.ndarray) -> float:
        squares = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
        return max(np.sqrt(squares.min(axis).clip(0)).mean() for axis in (0, 1))

    errors = []
    for run in read_runs(published):
        support, query = [[points(image) for image in each] for each in (run.support, run.query)]
        nearest = [np.argmin([distance(q, s) for s in support]) for q in query]
        errors.append(np.mean(nearest != run.labels))
    assert round(100 * np.mean(errors), 2) == 38.75
