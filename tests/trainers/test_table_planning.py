"""What a table refuses before it trains anything, and cells that wait for a user's own images."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from episodes.cli import main as episodes_main
from episodes.errors import UsageError
from tests.trainers.grid_cells import InThisProcess
from tests.trainers.test_cli import error_line
from tests.trainers.test_marks import birds
from trainers.interrupt import Interrupt
from trainers.progress import progress
from trainers.tables import planning, preparing
from trainers.tables import table as tables
from trainers.tables.making import Request
from trainers.tables.outcome import outcomes
from trainers.tables.table import Table

TABLE = """
title = "small"
quantity = "accuracy"
common = ["protocol"]
open = ["everything"]
[parts]
protocol = {{ dataset = "{trained}", {short} }}
there = {{ tested_on = "{tested}" }}
many = {{ way = {way} }}
maml = {{ algo = "maml" }}
anil = {{ algo = "anil" }}
[columns]
here = []
there = ["there"]
"more ways" = ["many", "there"]
[rows]
MAML = ["maml"]
ANIL = ["anil"]
"""
SHORT = (
    "lr = 'fixed', filters = 2, steps = 1, eval_steps = 1, iterations = 1, val_episodes = 0, "
    "episodes = 2, query = 1, way = 2, meta_batch_size = 1"
)
ADVICE = "; choose cells without by --cells"


def small(trained: object, tested: object, way: int = 2) -> Table:
    return tables.parse("small", TABLE.format(trained=trained, tested=tested, way=way, short=SHORT))


def refusal(table: Table, allow_overlap: bool = False) -> str:
    with pytest.raises(UsageError) as refused:
        planning.check(table.name, table.cells, allow_overlap)
    return str(refused.value)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """15 classes, of which classes 0 to 4 train and 10 to 14 are tested."""
    return birds(tmp_path_factory.mktemp("stores") / "birds", dataset="birds")


@pytest.fixture(scope="module")
def swapped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same classes, of which 2 that train in `whole` and 2 others are tested."""
    splits = {"mixed": {"train": (7, 8), "val": (), "test": (3, 4, 5, 6)}}
    facts = {"dataset": "birds", "splits": splits, "default_scheme": "mixed"}
    return birds(tmp_path_factory.mktemp("stores") / "swapped", **facts)


def test_all_cells_that_test_on_training_classes_are_named(whole: Path, swapped: Path) -> None:
    shared = (
        "2 of the 4 classes of swapped mixed.test are among the training classes, birds one.train"
    )
    names = "there MAML, there ANIL, more ways MAML, more ways ANIL"
    table = small(whole, swapped)
    assert refusal(table) == f"small: {names}: {shared}{ADVICE}, or add --allow-overlap"
    planning.check(table.name, table.cells, allow_overlap=True)
    planning.check(table.name, table.chosen(["here*"]), allow_overlap=False)


def test_all_cells_of_more_ways_than_classes_are_named(
    whole: Path, swapped: Path, colour: Path
) -> None:
    found = refusal(small(whole, swapped, way=5), allow_overlap=True)
    assert found.startswith("small: more ways MAML, more ways ANIL: ")
    assert "mixed.test" in found and found.endswith(ADVICE)
    found = refusal(small(whole, swapped, way=6), allow_overlap=True)
    assert "more ways MAML, more ways ANIL" in found and "one.train" in found
    found = refusal(small(whole, colour))
    assert "there MAML, there ANIL, more ways MAML, more ways ANIL: the run was trained on" in found
    assert "16x16 grey images of birds, and colour holds 16x16 colour images" in found


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Path, object], None]:
    """Makes the small table the only one of the command."""

    def make(trained: Path, tested: object) -> None:
        file = tmp_path / "small.toml"
        file.write_text(TABLE.format(trained=trained, tested=tested, way=2, short=SHORT))
        monkeypatch.setattr(tables, "_files", lambda: [file])

    return make


def test_nothing_is_trained_before_the_refusal(
    command: Callable[..., Result], only: Callable[..., None], whole: Path, swapped: Path
) -> None:
    only(whole, swapped)
    line = error_line(command("table", "small", "--threads", 1), 2)
    assert line.startswith("small: there MAML, there ANIL") and "--allow-overlap" in line
    assert not Path("tables").exists()


def test_what_to_prepare_is_told(command: Callable[..., Result]) -> None:
    chosen = ("trlearner-images", "--cells", "*Places MAML")
    typed = "`episodes prepare folder PATH --name places --size 84 --fractions 0,0,1`"
    assert (
        f"(not run: places are images of your own: {typed}"
        in command("table", *chosen, "--list").stdout
    )
    turned = error_line(command("table", "omniglot"), 2)
    assert "needs omniglot-rotations, not prepared: type `episodes prepare omniglot --rot" in turned


def test_functions_need_no_preparing() -> None:
    [cell] = preparing.with_own_images(small("sinusoid", "harmonic").chosen(["there ANIL"]))
    assert cell.why_not is None
    preparing.check_prepared("small", [cell])


def test_cells_wait_for_images_of_one_s_own(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for number in range(12):
        path = tmp_path / "pictures" / f"{number % 6}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (30, 20, 3), np.uint8)).save(path)

    def prepare(name: str, fractions: str) -> None:
        typed = f"prepare folder {tmp_path / 'pictures'} --name {name} --fractions {fractions}"
        result = CliRunner().invoke(episodes_main, [*typed.split(), "--size", "16", "--grey"])
        assert result.exit_code == 0, result.output

    prepare("countries", "0.5,0,0.5")
    table = small("countries-16px", "places-16px")
    [cell] = preparing.with_own_images(table.chosen(["there ANIL"]))
    assert cell.why_not is not None and "--name places-16px" in cell.why_not
    prepare("places", "0,0,1")
    [cell] = preparing.with_own_images(table.chosen(["there ANIL"]))
    planning.check("small", [cell], allow_overlap=False)
    request = Request(table, (cell,), tmp_path, machine={"threads": 1})
    with progress(Interrupt()) as shown:
        failures = request.train(None, InThisProcess(), print)
        [found] = outcomes(request, None, failures, False, shown)
    assert found.failures == () and found.ours.mean is not None
    assert found.seeds[0].notes == () and 0 <= found.ours.mean <= 100
