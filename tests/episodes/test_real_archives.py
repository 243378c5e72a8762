"""The genuine archives, by the command line: what is there, what is refused, what comes out."""

import io
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

import episodes
from episodes.cli import main
from episodes.prepare import prepare

pytestmark = pytest.mark.real_data


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("EPISODES_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: object) -> Result:
        return CliRunner().invoke(main, [str(argument) for argument in arguments])

    return invoke


def test_a_part_of_cub_is_refused_or_marked(run, archives: Path, tmp_path: Path) -> None:
    refused = run("prepare", "cub", "--from", archives / "cub-part")
    assert refused.exit_code == 1
    assert "cub has 200 images of 10 classes; expected 11,788 of 200" in refused.stderr
    assert "001.Black_footed_Albatross: 20 of 60" in refused.stderr
    assert "add --partial to make a store of what is there" in refused.stderr
    assert not list((tmp_path / "home" / "stores").glob("[!.]*"))

    told = json.loads(
        run("prepare", "cub", "--from", archives / "cub-part", "--partial", "--json").stdout
    )
    assert (told["name"], told["classes"], told["images"]) == ("cub-partial", 10, 200)
    assert told["marks"] == ["partial: 200 of 11,788 images, 10 of 200 classes"]
    assert "NOT THE WHOLE DATASET: partial: 200 of 11,788" in run("info", "cub-partial").stdout
    assert "partial" in (tmp_path / "home/stores/cub-partial/card.md").read_text()


def test_the_pixels_of_cub_are_pillows(run, archives: Path) -> None:
    run("prepare", "cub", "--from", archives / "cub-part", "--partial", "--crop", "box")
    store = episodes.open("cub-box-partial")
    found, boxes, paths = {}, {}, {}
    with tarfile.open(archives / "cub-part" / "CUB_200_2011.tgz") as tar:
        for entry in tar:
            file = tar.extractfile(entry)
            if file and entry.name.endswith(".jpg"):
                found[entry.name.removeprefix("CUB_200_2011/images/")] = file.read()
            elif file and entry.name.endswith("/bounding_boxes.txt"):
                lines = [line.split() for line in file.read().decode().splitlines()]
                boxes = {number: [float(edge) for edge in edges] for number, *edges in lines}
            elif file and entry.name.endswith("/images.txt"):
                lines = [line.split() for line in file.read().decode().splitlines()]
                paths = {path: number for number, path in lines}
    classes = np.repeat(store.class_names, store.class_sizes)
    for row in range(0, 200, 7):
        path = f"{classes[row]}/{store.ids(np.array([row]))[0]}"
        x, y, width, height = boxes[paths[path]]
        picture = Image.open(io.BytesIO(found[path])).convert("RGB")
        picture = picture.crop((x, y, x + width, y + height))
        picture = picture.resize((84, 84), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(store.image(row), np.asarray(picture))


def test_omniglot_in_both_formats_is_one_dataset(archives: Path, tmp_path: Path) -> None:
    digests = {
        prepare("omniglot", archives / "omniglot", home=tmp_path, container=container).digest
        for container in ("hdf5", "webdataset")
    }
    assert digests == {"1fa961113df91028de0c78b227acbb1e21b614cf9364a3094d3d300800d62069"}


@pytest.mark.slow
@pytest.mark.skipif(
    not Path(os.environ.get("EPISODES_TEST_DATA", ""), "miniimagenet").is_dir(),
    reason="the JPEGs of miniImageNet are not at hand",
)
def test_miniimagenet_is_pillows_pixels(archives: Path, tmp_path: Path) -> None:
    folder = archives / "miniimagenet"
    store = prepare("miniimagenet", folder, home=tmp_path)
    parts = [len(store.split_classes(part)) for part in ("train", "val", "test")]
    assert (parts, set(store.class_sizes)) == ([64, 16, 20], {600})
    files = {path.name: path for path in folder.rglob("*.jpg")}
    rows = np.random.default_rng(0).choice(store.info.rows, 1000, replace=False)
    for image_id, image in zip(store.ids(rows), store.images(rows), strict=True):
        picture = Image.open(files[image_id]).convert("RGB")
        resized = picture.resize((84, 84), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(image, np.asarray(resized))
