import hashlib
import json
import os
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import h5py
import numpy as np
import pytest

import episodes
from episodes.errors import EpisodesError, UsageError
from episodes.store import Store
from episodes.store.layout import read_info, write_info
from tests.episodes.conftest import Tiny


@pytest.fixture
def copied(tiny_store: Store, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_store.path, tmp_path / "tiny"))


def shard_of(folder: Path) -> Path:
    return next(folder.glob("*.h5"))


def redescribe(folder: Path, **changes: object) -> None:
    """Write another store.json that is whole in itself."""
    write_info(folder, replace(read_info(folder), **changes))  # type: ignore[arg-type]


def first_image(store: Store) -> np.ndarray:
    return store.images(np.array([0]))


def test_any_hdf5_reader_sees_the_same_rows(tiny_store: Store) -> None:
    with h5py.File(shard_of(tiny_store.path)) as file:
        np.testing.assert_array_equal(file["images"][:], tiny_store.images(np.arange(320)))
        ids = [image_id.decode() for image_id in file["ids"][:]]
    assert ids == tiny_store.ids(np.arange(320))


def test_a_store_in_the_current_folder_is_opened_by_its_path(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(copied.parent)
    copied.rename("own-store")
    with pytest.raises(UsageError, match=r"unknown dataset 'own-store'.* type \./own-store"):
        episodes.open("own-store")
    assert len(episodes.open("./own-store").class_names) == 16


def test_rows_come_into_the_callers_buffer(tiny_store: Store) -> None:
    rows = np.array([5, 319, 5, 0])
    out = np.empty((4, 28, 28, 1), np.uint8)
    assert tiny_store.images(rows, out) is out
    np.testing.assert_array_equal(out, tiny_store.images(rows))


def test_one_flipped_byte_is_found_and_named(copied: Path) -> None:
    shard = shard_of(copied)
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(bytes(data))
    store = Store(copied)
    with pytest.raises(EpisodesError, match=f"the shard .*{shard.name} is damaged"):
        store.verify()


def test_a_deep_check_finds_a_wrong_digest(copied: Path) -> None:
    redescribe(copied, content_digest="0" * 64)
    store = Store(copied)
    store.verify()
    with pytest.raises(EpisodesError, match="the content digest is"):
        store.verify(deep=True)


def test_a_short_shard_is_refused(copied: Path) -> None:
    shard = shard_of(copied)
    os.truncate(shard, 1000)
    with pytest.raises(EpisodesError, match=f"{shard.name} has 1000 bytes; expected"):
        Store(copied)
    shard.unlink()
    with pytest.raises(EpisodesError, match=f"{shard.name} cannot be read: No such file"):
        Store(copied)


def test_a_shard_cut_short_while_open_is_an_error_and_not_a_crash(copied: Path) -> None:
    store = Store(copied)
    first_image(store)
    os.truncate(shard_of(copied), 5000)
    with pytest.raises(EpisodesError, match="was changed while it was open"):
        first_image(store)
    with pytest.raises(EpisodesError, match="was changed while it was open"):
        store.ids(np.array([319]))


def test_a_store_replaced_while_open_goes_on_as_it_was(copied: Path, tiny: Tiny) -> None:
    store = Store(copied)
    before = store.images(np.arange(320))
    tiny.prepare(copied.parent, out=copied, force=True)
    np.testing.assert_array_equal(store.images(np.arange(320)), before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "episodes-store/9"}, "has the store format 'episodes-store/9'; this version"),
        ({"shards": [{}]}, "store.json is damaged"),
        ({"default_scheme": "quarters"}, "store.json is damaged"),
        ({"surprise": 1}, "store.json is damaged"),
    ],
)
def test_another_description_is_refused(copied: Path, change: dict, message: str) -> None:
    described = json.loads((copied / "store.json").read_text())
    (copied / "store.json").write_text(json.dumps(described | change))
    with pytest.raises(EpisodesError, match=message) as caught:
        Store(copied)
    assert "\n" not in str(caught.value)


SPLITS = {"halves": {"train": [0], "val": [1], "test": [2]}}
IDENTITY = {"namespace": "wordnet", "pattern": "(n[0-9]+)"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"splits": {"halves": {"train": [0], "val": [1]}}}, "'halves' has ['train', 'val']"),
        ({"splits": {"halves": SPLITS["halves"] | {"more": []}}}, "'halves' has ['more'"),
        ({"splits": {"halves": SPLITS["halves"] | {"train": [16]}}}, "'halves', train, has 16"),
        ({"splits": {"halves": SPLITS["halves"] | {"train": [-1]}}}, "'halves', train, has -1"),
        ({"splits": {"halves": SPLITS["halves"] | {"train": [True]}}}, "train, has True"),
        ({"splits": {"halves": SPLITS["halves"] | {"train": ["0"]}}}, "train, has '0'"),
        ({"splits": {"halves": SPLITS["halves"] | {"train": "abc"}}}, "train, has 'a'"),
        ({"splits": {"halves": SPLITS["halves"] | {"train": [[0]]}}}, "train, has [0]"),
        ({"splits": {"halves": SPLITS["halves"] | {"train": 3}}}, ""),
        ({"splits": {"halves": SPLITS["halves"] | {"train": [0, 1]}}}, "has a class twice"),
        ({"splits": {"a\nb": {}}}, "'a\\nb' has []"),
        ({"splits": {"halves": ["train", "val", "test"]}}, ""),
        ({"splits": []}, ""),
        ({"splits": {}}, "default_scheme is 'halves'; expected one of []"),
        ({"default_scheme": "thirds"}, "is 'thirds'; expected one of ['halves', 'quarters']"),
        ({"channels": 2, "image_shape": [28, 28, 2]}, "channels is 2; expected 1 or 3"),
        ({"image_shape": [2**31, 2**33, 1]}, "is damaged (it has no"),
        ({"image_shape": [-28, 28, 1]}, "image_shape has -28"),
        ({"class_names": list(range(16))}, "class_names has 0; expected text"),
        ({"identity": {"namespace": "wordnet"}}, "identity has ['namespace']"),
        ({"identity": IDENTITY | {"more": ""}}, "identity has ['more'"),
        ({"identity": IDENTITY | {"pattern": 3}}, "identity has 3; expected text"),
        ({"identity": IDENTITY | {"pattern": "(n"}}, "identity has '(n'; expected a pattern of"),
        ({"identity": IDENTITY | {"pattern": "n"}}, "identity has 'n'; expected a pattern of"),
        ({"identity": IDENTITY | {"pattern": "(a)(b)"}}, "expected a pattern of one group"),
        ({"identity": IDENTITY | {"pattern": "(a{99999999999})"}}, "expected a pattern of"),
        ({"identity": "wordnet"}, "identity is 'wordnet'"),
        ({"sources": [{"name": "a.zip"}]}, "sources has {'name': 'a.zip'}"),
        ({"sources": ["a.zip"]}, "sources has 'a.zip'"),
        ({"skipped": [["a", "b", "c"]]}, "skipped has ['a', 'b', 'c']"),
        ({"missing": {"images": "7"}}, "missing has '7'"),
    ],
)
def test_a_description_that_contradicts_itself_is_refused(
    copied: Path, change: dict, message: str
) -> None:
    described = json.loads((copied / "store.json").read_text()) | change
    del described["sha256"]
    sha256 = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()
    (copied / "store.json").write_text(json.dumps(described | {"sha256": sha256}))
    with pytest.raises(EpisodesError) as caught:
        Store(copied)
    told = str(caught.value)
    assert "\n" not in told and "is damaged (" in told and message in told
    assert str(copied / "store.json") in told or str(shard_of(copied)) in told


@pytest.mark.parametrize("key", ["rows", "bytes", "id_bytes"])
@pytest.mark.parametrize("value", [-1, 2**61, 10**30, "1", None])
def test_a_shard_that_cannot_be_is_refused(copied: Path, key: str, value: object) -> None:
    described = json.loads((copied / "store.json").read_text())
    described["shards"][0][key] = value
    if key == "rows":
        described["class_sizes"] = [value] + [0] * 15
    del described["sha256"]
    sha256 = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()
    (copied / "store.json").write_text(json.dumps(described | {"sha256": sha256}))
    with pytest.raises(EpisodesError) as caught:
        Store(copied)
    assert "\n" not in str(caught.value) and str(copied) in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00\xff"])
def test_a_damaged_description_is_refused(copied: Path, text: str) -> None:
    (copied / "store.json").write_text(text)
    with pytest.raises(EpisodesError, match="store.json is damaged|has the store format None"):
        Store(copied)


def test_splits_by_name(tiny_store: Store) -> None:
    assert tiny_store.split_name("test") == "halves.test"
    assert list(tiny_store.split_classes("quarters.val")) == [8, 9, 10, 11]
    with pytest.raises(UsageError, match="unknown split of tiny 'tets': did you mean 'test'"):
        tiny_store.split_classes("tets")
    with pytest.raises(UsageError, match="split scheme of tiny 'halfs': did you mean 'halves'"):
        tiny_store.split_classes("halfs.test")


def test_a_pickled_store_opens_again_only_as_itself(copied: Path, tiny: Tiny) -> None:
    store = Store(copied)
    pickled = pickle.dumps(store)
    np.testing.assert_array_equal(first_image(pickle.loads(pickled)), first_image(store))
    redescribe(copied, content_digest="f" * 64)
    with pytest.raises(EpisodesError, match="was replaced: its content digest is ffff"):
        pickle.loads(pickled)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_worker_processes_read_the_same_rows(tiny_store: Store, method: str) -> None:
    with get_context(method).Pool(2) as pool:
        read = pool.map(tiny_store.images, [np.arange(0, 160), np.arange(160, 320)])
    np.testing.assert_array_equal(np.concatenate(read), tiny_store.images(np.arange(320)))


def test_rows_that_are_not_there_are_refused(tiny_store: Store) -> None:
    for rows in ([320], [-1], [0, 10**9]):
        with pytest.raises(EpisodesError, match="the store has rows 0 .. 319"):
            tiny_store.images(np.array(rows))
        with pytest.raises(EpisodesError, match="the store has rows 0 .. 319"):
            tiny_store.ids(np.array(rows))


def test_threads_read_the_same_rows(tiny_store: Store) -> None:
    expected = tiny_store.images(np.arange(320))
    with ThreadPoolExecutor(7) as pool:
        for images in pool.map(tiny_store.images, [np.arange(320)] * 50):
            np.testing.assert_array_equal(images, expected)
