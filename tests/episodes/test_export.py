"""Exports: what they say, that they are whole or not there, and what is refused."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from episodes.errors import EpisodesError, UsageError
from episodes.export import FORMATS, export, read_info
from episodes.export.naming import named_batches, names
from episodes.export.tar import write_tars
from episodes.store import Store
from tests.episodes.made_stores import make_store

FILES = {
    "plan": ["episodes.jsonl.gz"],
    "webdataset": ["episodes-00000.tar"],
    "hdf5": ["episodes.h5"],
    "arrow": ["episodes.arrow"],
}


def pictures(seed: int = 0, classes: int = 7, images: int = 6, shape=(6, 5, 3)) -> dict:
    """Noise in classes; names and ids of several lengths, one of them not ASCII."""
    generator = np.random.default_rng(seed)
    return {
        f"bée/{10**index}": {
            f"{index}é{10**image}.png": generator.integers(0, 256, shape, np.uint8)
            for image in range(images)
        }
        for index in range(classes)
    }


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return make_store(tmp_path_factory.mktemp("made") / "made", pictures())


@pytest.mark.parametrize("format", FORMATS)
def test_the_description_says_what_to_cite(store: Store, tmp_path: Path, format: str) -> None:
    episodes = store.stream(
        "train", 3, (1, 2, 1), 2, seed=9, class_pool=list(store.class_names[:5])
    )
    info = export(episodes, 4, tmp_path / "out", format)
    assert read_info(tmp_path / "out") == info
    said = json.loads((tmp_path / "out/episodes.json").read_text("utf-8"))
    assert said["fingerprint"] == episodes.fingerprint(4)
    assert (said["plan_version"], said["split"], said["count"]) == ("plan/1", "all.train", 4)
    assert (said["seed"], said["image_shape"]) == (9, [6, 5, 3])
    assert said["spec"] == json.loads(episodes.spec.canonical())
    assert said["how_to_read"].startswith(("Tars", "episodes."))
    of = said["stores"][0]
    assert (of["name"], of["licence"], of["citation"]) == ("made", "MIT", "none")
    assert of["content_digest"] == store.digest
    assert [file["file"] for file in said["files"]] == FILES[format]
    for file in said["files"]:
        content = (tmp_path / "out" / file["file"]).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (
            file["bytes"],
            file["sha256"],
        )
    there = {path.name for path in (tmp_path / "out").iterdir()}
    assert there == {"episodes.json", *FILES[format]}


@pytest.mark.parametrize("format", FORMATS)
def test_the_same_episodes_are_the_same_bytes(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str
) -> None:
    episodes = store.stream("train", 5, 2, 3)
    once = export(episodes, 11, tmp_path / "once", format)
    monkeypatch.setattr("time.time", lambda: 2e9)
    again = export(episodes, 11, tmp_path / "again", format, threads=3)
    assert once == again


def test_pixels_that_may_not_be_passed_on_are_marked_and_a_plan_is_not(
    store: Store, tiny_store: Store, tmp_path: Path
) -> None:
    closed, free = (of.stream("train", 3, 1, 1) for of in (store, tiny_store))
    info = export(closed, 2, tmp_path / "pixels", "hdf5")
    assert info.licence_note.startswith("these are images of made (licence: MIT), not marked as")
    assert export(closed, 2, tmp_path / "plan", "plan").licence_note == ""
    assert export(free, 2, tmp_path / "free", "hdf5").licence_note == ""


def test_marks_of_a_store_go_along(tmp_path: Path) -> None:
    missing = {"images": 5, "images_expected": 47, "classes": 0, "classes_expected": 7}
    partial = make_store(tmp_path / "partial", pictures(), partial=True, missing=missing)
    info = export(partial.stream("train", 3, 1, 1), 2, tmp_path / "out")
    assert info.marks == ("made: partial: 42 of 47 images, 7 of 7 classes",)
    assert read_info(tmp_path / "out").marks == info.marks


def test_tars_are_split_between_episodes(store: Store, tmp_path: Path) -> None:
    batches = named_batches(store.stream("train", 3, 1, 1), 0, 8)
    written = list(write_tars(tmp_path, batches, shard_bytes=30_000))
    assert [name for name, _ in written] == [f"episodes-{i:05d}.tar" for i in range(len(written))]
    assert len(written) > 1 and sum(episodes for _, episodes in written) == 8
    listed = [
        line
        for name, _ in written
        for line in subprocess.check_output(["tar", "tf", tmp_path / name], text=True).split()
    ]
    assert [name for name in listed if name.endswith(".json")] == [
        f"{i:09d}.json" for i in range(8)
    ]


def test_an_export_is_there_whole_or_not_at_all(store: Store, tmp_path: Path) -> None:
    episodes, folder = store.stream("train", 3, 1, 1), tmp_path / "out"

    def pull_the_plug(what: str, done: int, total: int, unit: str = "") -> None:
        raise KeyboardInterrupt

    for format in FORMATS:
        with pytest.raises(KeyboardInterrupt):
            export(episodes, 3, folder, format, pull_the_plug)
        assert {path.name for path in tmp_path.iterdir()} <= {".out.lock"}
    before = export(episodes, 3, folder)
    with pytest.raises(KeyboardInterrupt):
        export(episodes, 5, folder, "arrow", pull_the_plug, force=True)
    assert read_info(folder) == before
    after = export(episodes, 5, folder, "arrow", force=True)
    assert read_info(folder) == after
    assert not (folder / "episodes.jsonl.gz").exists()


def test_only_an_export_is_replaced(store: Store, tmp_path: Path) -> None:
    episodes, folder = store.stream("train", 3, 1, 1), tmp_path / "out"
    export(episodes, 2, folder)
    with pytest.raises(UsageError, match="out is there already: choose another folder, or add --f"):
        export(episodes, 2, folder)
    (folder / "thesis.tex").write_text("irreplaceable")
    with pytest.raises(UsageError, match=r"holds thesis.tex, which is no part of an export"):
        export(episodes, 2, folder, force=True)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(EpisodesError, match=r"cannot read .*file/episodes.json"):
        export(episodes, 2, tmp_path / "file", force=True)
    with pytest.raises(EpisodesError, match=r"cannot write the export .*file/out: "):
        export(episodes, 2, tmp_path / "file" / "out")
    assert (tmp_path / "file").read_text() == "in the way"


FULL_DISK = """
import resource, sys
from pathlib import Path
from episodes.errors import EpisodesError
from episodes.export import FORMATS, export
from episodes.store import Store

episodes = Store(Path(sys.argv[1])).stream("test")
resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))
for format in FORMATS:
    try:
        export(episodes, 50, sys.argv[2], format)
    except EpisodesError as error:
        print(error)
"""


def test_a_full_disk_ends_in_one_line(tiny_store: Store, tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", FULL_DISK, tiny_store.path, tmp_path / "out"]
    run = subprocess.run(arguments, capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "")
    lines = run.stdout.splitlines()
    assert len(lines) == len(FORMATS)
    for line in lines:
        assert line.startswith(f"cannot write the export {tmp_path}") and "File too large" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "hdf"}, "unknown format 'hdf': did you mean 'hdf5'"),
        ({"count": 0}, "count is 0; expected a whole number of 1 or more"),
        ({"threads": -1}, "threads -1"),
    ],
)
def test_bad_usage_is_told(store: Store, tmp_path: Path, change: dict, message: str) -> None:
    episodes = store.stream("train", 3, 1, 1)
    with pytest.raises(UsageError, match=message):
        export(episodes, **{"count": 2, "folder": tmp_path / "out", **change})
    assert not (tmp_path / "out").exists()


def test_a_share_has_the_names_of_its_episodes_and_is_not_exported(
    store: Store, tmp_path: Path
) -> None:
    whole = store.stream("train", 3, 1, 1)
    share = whole.shard(1, 2)
    assert names(share, 2, 3) == [names(whole, index, 1)[0] for index in (5, 7, 9)]
    with pytest.raises(UsageError, match="is a share: export the whole stream"):
        export(share, 2, tmp_path / "out")
