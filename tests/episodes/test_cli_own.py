"""`episodes prepare` of a user's own data, as it is typed."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from episodes.cli import main


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs the command line in a folder with `pets` (6 classes of 2 images) and `pets.csv`."""
    monkeypatch.setenv("EPISODES_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("EPISODES_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    rows = ["file,kind"]
    for level, name in enumerate(("ant", "bee", "cat", "dog", "eel", "fox")):
        Path("pets", name).mkdir(parents=True)
        for number in range(2):
            path = f"pets/{name}/{number}.png"
            Image.new("L", (5, 5), 20 * level + number).save(path)
            rows.append(f"{path},{name}")
    Path("pets/notes.txt").write_text("stray")
    Path("pets.csv").write_text("\n".join(rows))

    def invoke(*arguments: object) -> Result:
        return CliRunner().invoke(main, [str(argument) for argument in arguments])

    return invoke


def test_a_folder_then_list_info_and_show(run) -> None:
    made = run("prepare", "folder", "pets", "--name", "pets", "--size", 8)
    assert made.exit_code == 0, made.stderr
    assert made.stdout.startswith("pets-8px: 6 classes, 12 images of 8x8x3")
    assert "split own (default): train 4, val 1, test 1 classes" in made.stdout
    assert made.stderr == (
        "note: passed over 1 file(s) that are hidden or have no image's suffix: notes.txt\n"
    )
    assert "your own: pets-8px" in run("list").stdout
    assert run("verify", "pets-8px", "--deep").exit_code == 0
    split = ("--split", "train", "--shot", 1, "--query", 1, "--way", 3, "--out", "sheet.png")
    assert run("show", "pets-8px", *split).exit_code == 0
    Image.new("L", (5, 5)).save("pets/ant/new.png")
    again = run("prepare", "folder", "pets", "--name", "pets", "--size", 8)
    assert again.exit_code == 1 and "(1 image(s) more): add --force" in again.stderr
    forced = run("prepare", "folder", "pets", "--name", "pets", "--size", 8, "--force", "--json")
    assert json.loads(forced.stdout)["images"] == 13


def test_a_table_with_lists_and_every_form(run) -> None:
    options = ["--path-column", "file", "--label-column", "kind", "--name", "mine", "--json"]
    lists = ["--train", "ant,bee", "--train", "cat", "--test", "fox"]
    form = ["--encoding", "original", "--format", "webdataset", "--grey", "--licence", "CC0"]
    made = run("prepare", "csv", "pets.csv", *options, *lists, *form, "--shard-size", "20kB")
    assert made.exit_code == 0, made.stderr
    described = json.loads(made.stdout)
    assert described["name"] == "mine-original-webdataset"
    assert described["image_shape"] == [5, 5, 1]
    assert described["licence"] == "CC0" and described["redistribution"] is False
    classes = {part: count["classes"] for part, count in described["splits"]["own"].items()}
    assert classes == {"train": 3, "val": 0, "test": 1}
    plain = run("prepare", "csv", "pets.csv", *options, *lists, *form[:2], *form[4:])
    assert json.loads(plain.stdout)["content_digest"] == described["content_digest"]


def test_fractions_seed_and_file(run, tmp_path: Path) -> None:
    Path("split.json").write_text(json.dumps({"val": ["fox"], "test": ["ant", "bee"]}))

    def counts(*options: object) -> list[int]:
        made = run("prepare", "folder", "pets", "--name", "x", "--force", "--json", *options)
        parts = json.loads(made.stdout)["splits"]["own"]
        return [parts[part]["classes"] for part in ("train", "val", "test")]

    assert counts("--fractions", "0.5,0,0.5") == [3, 0, 3]
    assert counts("--split-seed", 7) == [4, 1, 1]
    assert counts("--split-file", "split.json") == [0, 1, 2]


def test_a_local_hugging_face_dataset_has_its_files_name(run, monkeypatch, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    images = [{"bytes": Path(f"pets/{name}/0.png").read_bytes()} for name in ("ant", "bee")]
    table = datasets.Dataset.from_dict({"img": images, "kind": ["ant", "bee"]})
    table.to_parquet("insects.parquet")
    hub = ("prepare", "hf:insects.parquet", "--image-column", "img", "--label-column", "kind")
    made = run(*hub, "--size", 5, "--json")
    assert made.exit_code == 0, made.stderr
    assert json.loads(made.stdout)["dataset"] == "insects"
    wrong = run(*hub[:-1], "kin")
    assert wrong.exit_code == 2 and "unknown column 'kin': did you mean 'kind'?" in wrong.stderr


FOLDER = ["prepare", "folder", "pets", "--name", "x"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["prepare", "folder"], 2, "type `episodes prepare folder PATH --name NAME`"),
        (["prepare", "folder", "pets"], 2, "needs a name: type `episodes prepare folder PATH"),
        (["prepare", "csv", "--name", "x"], 2, "type `episodes prepare csv PATH --name NAME`"),
        (["prepare", "folder", "pest", "--name", "x"], 2, "pest is not a folder"),
        (["prepare", "csv", "pets", "--name", "x"], 2, "pets is a folder; expected a file"),
        (["prepare", "csv", "pets.csv", "--name", "x"], 2, "unknown column 'path'"),
        (["prepare", "hf:pets", "pets"], 2, "hf:pets takes no PATH: leave pets out"),
        (["prepare", "hf:"], 2, "the name '' is not a plain one"),
        (["prepare", "hf:nobody/nothing"], 1, "offline, and hf:nobody/nothing is not in the cache"),
        (["prepare", "hf", "pets"], 2, "type `episodes prepare hf:REPO`"),
        (["prepare", "floder", "pets"], 2, "unknown dataset 'floder': did you mean 'folder'?"),
        (["prepare", "pets"], 2, "type `episodes prepare folder pets --name NAME`"),
        (["prepare", "pets.csv"], 2, "type `episodes prepare csv pets.csv --name NAME`"),
        (["prepare", "omniglot", "pets"], 2, "type `episodes prepare omniglot --from pets`"),
        (["prepare", "omniglot", "--grey"], 2, "--grey is for folder, csv, hf:REPO: leave it out"),
        (["prepare", "omniglot", "--name", "x"], 2, "--name is for folder, csv, hf:REPO"),
        ([*FOLDER, "--path-column", "x"], 2, "--path-column is for csv: leave it out"),
        ([*FOLDER, "--image-column", "x"], 2, "--image-column is for hf:REPO: leave it out"),
        (
            [*FOLDER, "--from", "pets"],
            2,
            "--from is for shipped datasets, meta-dataset: leave",
        ),
        ([*FOLDER, "--partial"], 2, "--partial is for shipped datasets: leave it out"),
        ([*FOLDER, "--crop", "box"], 2, "--crop is for shipped datasets: leave it out"),
        ([*FOLDER, "--train", "ant,be"], 2, "--train names the class 'be', which is not there"),
        ([*FOLDER, "--train", "ant", "--split-seed", 1], 2, "exclude each other"),
        ([*FOLDER, "--fractions", "0.5"], 2, "the fractions are 0.5; expected three"),
        ([*FOLDER, "--split-file", "x.json"], 2, "x.json is not there"),
        ([*FOLDER, "--encoding", "original", "--size", 9], 2, "leave --size"),
        ([*FOLDER, "--resize", "cubic"], 2, "unknown resize method 'cubic': did you mean"),
        ([*FOLDER[:-1], "omniglot"], 2, "belongs to the shipped dataset omniglot"),
    ],
)
def test_bad_usage_is_one_line(run, arguments: list[object], code: int, message: str) -> None:
    result = run(*arguments)
    lines = [line for line in result.stderr.splitlines() if not line.startswith("note: ")]
    assert result.exit_code == code
    assert len(lines) == 1 and lines[0].startswith("error: ")
    assert message in lines[0]
    assert not Path("home/stores").exists()


def test_help_tells_whose_options_are_whose(run) -> None:
    text = run("prepare", "--help").stdout
    common, shipped, own = (
        text.index(f"\n{title}:\n")
        for title in ("Options", "Options for shipped datasets", "Options for own data")
    )
    assert common < text.index("--size") < shipped < text.index("  --from ") < own
    assert own < text.index("--hf-split")
