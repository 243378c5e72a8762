"""Large JSON files: what comes item by item is what the json module reads at once."""

import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from episodes.errors import EpisodesError
from episodes.readers import json_arrays
from episodes.readers.json_arrays import documents, field, items
from tests.episodes.layouts.making import add

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
VALUES = SCALARS | st.lists(SCALARS, max_size=4) | st.dictionaries(st.text(), SCALARS, max_size=3)


def found(text: str | bytes) -> list[tuple[str, Any]]:
    encoded = text.encode() if isinstance(text, str) else text
    return list(items(io.BytesIO(encoded), "it"))


@given(
    content=st.dictionaries(st.text(), VALUES | st.lists(VALUES, max_size=4), max_size=4),
    indent=st.sampled_from([None, 1]),
    ascii=st.booleans(),
    piece=st.integers(1, 40),
)
def test_items_are_those_of_every_array(
    content: dict[str, Any], indent: int | None, ascii: bool, piece: int
) -> None:
    text = json.dumps(content, indent=indent, ensure_ascii=ascii)
    expected = [(key, item) for key, v in content.items() if isinstance(v, list) for item in v]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_arrays, "PIECE", piece)
        assert found(text) == expected


def test_numbers_that_a_piece_cuts_are_whole() -> None:
    with pytest.MonkeyPatch.context() as patch:
        for piece in range(1, 12):
            patch.setattr(json_arrays, "PIECE", piece)
            assert [item for _, item in found('{"a":[123,-6.75e2, 1]}')] == [123, -675.0, 1]


def test_no_more_is_read_ahead_than_a_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_arrays, "PIECE", 1 << 10)
    stream = io.BytesIO(b'{"a": [' + b", ".join([b"[1, 2, 3, 4]"] * 5000) + b"]}")
    for number, (_, item) in enumerate(items(stream, "it"), start=1):
        assert item == [1, 2, 3, 4]
        assert 14 * number <= stream.tell() <= 14 * number + (1 << 10) + 20
    assert number == 5000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1]",
        "<html>",
        '{"a": [1, 2',
        '{"a": [1, 2]',
        '{"a": [1 2]}',
        '{"a": [1, ]}',
        '{"a": [1], }',
        '{"a" [1]}',
        "{1: [1]}",
        '{"a": [tru]}',
        '{"a": ' + "[" * 200_000,
        b'{"a": ["\xff"]}',
        b'\xff\xfe{\x00"\x00a\x00',
    ],
    ids=lambda text: repr(text[:14]),
)
def test_damage_is_told_in_one_line(text: str | bytes) -> None:
    with pytest.raises(EpisodesError, match="^it is damaged or no JSON object: fetch it again$"):
        found(text)


def test_an_item_without_end_is_refused_before_it_is_all_held(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(json_arrays, "PIECE", 1 << 10)
    monkeypatch.setattr(json_arrays, "LARGEST_ITEM", 1 << 14)
    stream = io.BytesIO(b'{"a": ["' + b"x" * (1 << 20) + b'"]}')
    with pytest.raises(EpisodesError, match="damaged"):
        list(items(stream, "it"))
    assert stream.tell() < 1 << 17


@pytest.mark.parametrize(
    "item", [None, [], 3, {}, {"id": "3"}, {"id": 3.0}, {"id": None}, {"id": 1 << 63}]
)
def test_fields_of_another_kind_are_shown(item: Any) -> None:
    assert field({"id": -(1 << 63)}, "id", int, "it") == -(1 << 63)
    with pytest.raises(EpisodesError, match="^it: .* has no id as it should: fetch it again$"):
        field(item, "id", int, "it")


def contents(path: Path, *names: str) -> dict[str, bytes]:
    return {where: stream.read() for where, stream in documents(path, names)}


def test_documents_are_found_alone_packed_and_unpacked(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "two.tgz", "w:gz") as tar:
        add(tar, "inside/val.json", "v")
        add(tar, "inside/readme.txt", "r")
        add(tar, "inside/train.json", "t")
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.writestr("train.json", "t")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "val.json").write_text("v")

    tgz, packed = tmp_path / "two.tgz", tmp_path / "two.zip"
    both = contents(tgz, "train.json", "val.json")
    assert both == {f"{tgz}: val.json": b"v", f"{tgz}: train.json": b"t"}
    assert contents(packed, "train.json") == {f"{packed}: train.json": b"t"}
    folder = tmp_path / "folder"
    assert contents(folder, "val.json") == {f"{folder}: val.json": b"v"}
    alone = folder / "val.json"
    assert contents(alone, "train.json", "val.json") == {str(alone): b"v"}
    with pytest.raises(EpisodesError, match=r"two\.zip has no val\.json: fetch it again"):
        contents(packed, "train.json", "val.json")
