import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

import episodes
from episodes import manifest
from episodes.cli import main
from episodes.store import Store
from episodes.variable_stream import VariableStream
from tests.episodes.conftest import Tiny


@pytest.fixture
def run(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs the command line where `tiny` is a shipped dataset, in an empty home and folder."""
    monkeypatch.setattr(manifest, "folder", lambda: tiny.source)
    monkeypatch.setenv("EPISODES_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("EPISODES_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: object) -> Result:
        return CliRunner().invoke(main, [str(argument) for argument in arguments])

    return invoke


def test_prepare_then_info_verify_and_list(run, tiny: Tiny, tiny_store: Store) -> None:
    made = run("prepare", "tiny", "--from", tiny.source)
    assert made.exit_code == 0
    assert "tiny: 16 classes, 320 images of 28x28x1" in made.stdout
    assert "licence MIT; cite: none" in made.stdout
    assert "not the original archives: images_background.zip, images_evaluation.zip" in made.stdout

    info = json.loads(run("info", "tiny", "--json").stdout)
    assert info["content_digest"] == tiny_store.digest
    assert info["splits"]["quarters"] == {
        "train": {"classes": 8, "images": 160},
        "val": {"classes": 4, "images": 80},
        "test": {"classes": 4, "images": 80},
    }
    assert run("verify", "tiny", "--deep").stdout == "tiny: 1 shard(s) as recorded, pixels too\n"
    assert json.loads(run("verify", "tiny", "--json").stdout)["whole"] is True
    listed = json.loads(run("list", "--json").stdout)["datasets"]
    assert [(row["name"], row["images"], row["prepared"]) for row in listed] == [
        ("tiny", 320, ["tiny"])
    ]
    assert "prepared: tiny" in run("list").stdout


def test_options_choose_the_store(run, tiny: Tiny, tmp_path: Path) -> None:
    options = ("--from", tiny.source, "--size", 14, "--rotations", "--out", tmp_path / "mine")
    described = json.loads(run("prepare", "tiny", *options, "--json").stdout)
    assert described["image_shape"] == [14, 14, 1]
    assert described["classes"] == 64
    assert described["path"] == str(tmp_path / "mine")
    assert run("info", tmp_path / "mine").exit_code == run("info", "./mine").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["prepare", "tinny"], 2, "unknown dataset 'tinny': did you mean 'tiny'?"),
        (
            ["prepare", "tiny"],
            2,
            "offline (EPISODES_OFFLINE), and tiny needs images_background.zip",
        ),
        (
            ["prepare", "tiny", "--from", "nowhere"],
            2,
            "nowhere is not there; expected the folder that holds",
        ),
        (["prepare", "tiny", "--from", "."], 1, "holds neither images_background.zip nor"),
        (["info", "tiny"], 2, "tiny is not prepared: type `episodes prepare tiny`"),
        (["info", "tiny-rotations"], 2, "tiny-rotations is not prepared"),
        (["verify", "."], 1, ". is not a store: it has no store.json"),
        (["verify", "./elsewhere/x"], 1, "elsewhere/x is not a store"),
        (["prepar", "tiny"], 2, "unknown command 'prepar': did you mean 'prepare'?"),
    ],
)
def test_bad_usage_is_one_line(run, arguments: list[str], code: int, message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == code
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_contact_sheet_shows_the_episode(run, tiny: Tiny, tmp_path: Path) -> None:
    run("prepare", "tiny", "--from", tiny.source)
    shape = ("--way", 3, "--shot", 2, "--query", 4, "--index", 7)
    result = run("show", "tiny", "--split", "halves.test", *shape)
    assert result.stdout == "tiny-halves.test-7.png\n"
    sheet = np.asarray(Image.open(tmp_path / "tiny-halves.test-7.png"))
    store = Store(tmp_path / "home/stores/tiny")
    episode = store.stream("test", 3, 2, 4, 1)[7]
    for image in (*episode.support_images, *episode.query_images):
        doubled = image[..., 0].repeat(2, axis=0).repeat(2, axis=1)
        assert holds(sheet, doubled)


def holds(sheet: np.ndarray, picture: np.ndarray) -> bool:
    """Whether `picture` (grey) stands somewhere in `sheet` (RGB)."""
    grey = np.where((sheet == sheet[..., :1]).all(axis=2), sheet[..., 0], 254)
    windows = np.lib.stride_tricks.sliding_window_view(grey, picture.shape)
    corners = (windows[..., 0, 0] == picture[0, 0]) & (windows[..., 28, 28] == picture[28, 28])
    return any((windows[y, x] == picture).all() for y, x in zip(*np.nonzero(corners), strict=True))


def test_a_contact_sheet_of_an_episode_of_variable_shape(run, tmp_path: Path) -> None:
    home = tmp_path / "home"
    images = np.random.default_rng(0).integers(0, 256, (800, 6, 6, 1), np.uint8)
    episodes.from_arrays(images, np.repeat([f"c{n}" for n in range(20)], 40), name="own", home=home)
    result = run("show", "own", "--split", "train", "--sampler", "meta-dataset", "--index", 3)
    assert result.exit_code == 0, result.output
    stream = VariableStream([episodes.open(home / "stores" / "own")], "train", seed=1)
    ways = len(stream.plan(3).class_ids)
    with Image.open(result.stdout.strip()) as sheet:
        assert sheet.height == 12 + 3 * 18 + ways * (60 + 2 * 4) + 12
    refused = run("show", "own", "--sampler", "meta-dataset", "--way", 5)
    assert refused.exit_code == 2 and "--way has no use with --sampler" in refused.stderr


def test_show_says_what_does_not_fit(run, tiny: Tiny) -> None:
    run("prepare", "tiny", "--from", tiny.source)
    assert "has 8 classes; too few for way 9" in run("show", "tiny", "--way", 9).stderr
    assert "too few for shot 30 + query 15" in run("show", "tiny", "--shot", 30).stderr
    assert (
        "unknown split of tiny 'tst': did you mean 'test'"
        in run("show", "tiny", "--split", "tst").stderr
    )
    unwritable = run("show", "tiny", "--out", "/nowhere/sheet.png")
    assert unwritable.exit_code == 1
    assert (
        unwritable.stderr == "error: cannot write /nowhere/sheet.png: No such file or directory\n"
    )


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["show", "tiny", "--spilt", "test"], "unknown option '--spilt': did you mean '--split'?"),
        (["show"], "missing argument 'NAME'"),
    ],
)
def test_what_is_typed_wrongly_is_one_line(run, arguments: list[str], line: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stderr == f"error: {line} (all options: `main show --help`)\n"


def test_too_few_classes_name_a_way_and_the_splits_that_have_more(run, tiny: Tiny) -> None:
    run("prepare", "tiny", "--from", tiny.source)
    found = run("show", "tiny", "--split", "quarters.val", "--way", 5).stderr
    assert "has 4 classes; too few for way 5: choose way 4 or less, or a split" in found
    assert "quarters.train" in found and "quarters.test" not in found
