"""FGVCx Fungi: its classes, and its reader against its layout and against damage."""

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from episodes import manifest, readers
from episodes.cli import main
from episodes.errors import EpisodesError
from episodes.readers import Record
from tests.episodes.layouts.fungi import ANNOTATIONS, ARCHIVE
from tests.episodes.layouts.making import add

FACTS = manifest.load("fungi")
ABOUT = {"info": {"year": 2018}, "licenses": [], "categories": [{"id": 0, "name": "a"}]}


def part(*pairs: tuple[int, str, int]) -> dict[str, Any]:
    """Annotations of (image id, file name, category)."""
    return ABOUT | {
        "annotations": [{"id": 1, "image_id": i, "category_id": c} for i, _, c in pairs],
        "images": [{"id": i, "file_name": name} for i, name, _ in pairs],
    }


def write(folder: Path, train: dict[str, Any], val: dict[str, Any], *files: str) -> Path:
    with tarfile.open(folder / ARCHIVE, "w:gz") as tar:
        for file in files:
            add(tar, file, file)
    with tarfile.open(folder / ANNOTATIONS, "w:gz") as tar:
        add(tar, "train.json", json.dumps(train))
        add(tar, "val.json", json.dumps(val))
    return folder


def read(folder: Path) -> list[Record]:
    source = FACTS.sources[0]
    return list(readers.reader_of(source)(FACTS, source, folder, False))


def test_names_are_the_published_ones_with_their_trailing_blanks() -> None:
    assert sorted(int(name[:4]) for name in FACTS.class_names) == list(range(1394))
    assert sum(name.endswith(" ") for name in FACTS.class_names) == 12
    bare = [name[5:] for name in FACTS.class_names]
    assert len(set(bare)) < len(bare)


def test_both_parts_count_and_unlabelled_files_do_not(tmp_path: Path) -> None:
    write(
        tmp_path,
        part((7, "images/a.JPG", 226), (8, "images/b.JPG", 1)),
        part((7, "images/c.JPG", 226)),
        "images/c.JPG",
        "images/stray.JPG",
        "images/a.JPG",
        "train.json",
        "images/b.JPG",
    )
    (malicorius, one) = (next(n for n in FACTS.class_names if n[:4] == k) for k in ("0226", "0001"))
    assert malicorius == "0226.Cortinarius malicorius"
    assert read(tmp_path) == [
        Record(malicorius, "c.JPG", b"images/c.JPG"),
        Record(malicorius, "a.JPG", b"images/a.JPG"),
        Record(one, "b.JPG", b"images/b.JPG"),
    ]


def test_photographs_in_a_folder_of_folders_keep_their_path(tmp_path: Path) -> None:
    file = "images/2010/images/a.JPG"
    write(tmp_path, part((1, file, 1)), part(), f"fungi_train_val/{file}")
    (record,) = read(tmp_path)
    assert record.image_id == "2010/images/a.JPG"


@pytest.mark.parametrize(
    ("train", "val", "complaint"),
    [
        (part((1, "images/a.JPG", 1394)), part(), "a.JPG: its class is 1394; expected 0 to 1393"),
        (part((1, "images/a.JPG", 1)), part((1, "images/a.JPG", 2)), "images/a.JPG is both of"),
        (part() | {"annotations": [{"image_id": 4, "category_id": 1}]}, part(), "an image 4 that"),
        (part() | {"images": [{"id": 4}]}, part(), '{"id": 4} has no file_name as it should'),
        (part() | {"annotations": [17]}, part(), "17 has no image_id as it should"),
    ],
)
def test_damaged_annotations_are_told_in_one_line(
    tmp_path: Path, train: dict[str, Any], val: dict[str, Any], complaint: str
) -> None:
    write(tmp_path, train, val, "images/a.JPG")
    with pytest.raises(EpisodesError) as caught:
        read(tmp_path)
    message = str(caught.value)
    assert complaint in message and ANNOTATIONS in message and "again" in message
    assert "\n" not in message


def test_prepare_says_what_to_get_where_and_what_to_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EPISODES_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("EPISODES_OFFLINE", raising=False)
    result = CliRunner().invoke(main, ["prepare", "fungi"])
    assert (result.exit_code, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: fungi needs {ARCHIVE} and {ANNOTATIONS}, ")
    assert "Kaggle's competition fungi-challenge-fgvc-2018" in line
    assert "https://www.kaggle.com/c/fungi-challenge-fgvc-2018" in line
    assert line.endswith("then type: episodes prepare fungi --from FOLDER")
