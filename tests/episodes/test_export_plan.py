"""Checking exports, and turning published plans back into episodes."""

import gzip
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from episodes.errors import EpisodesError, UsageError
from episodes.export import FORMATS, check, export, read_info, read_plan
from episodes.export.checking import stores_at_hand
from episodes.export.description import write_info
from episodes.store import Store
from episodes.stream import stream
from tests.episodes.made_stores import encoded_all, make_store
from tests.episodes.test_export import FILES, pictures

COUNT = 6


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return make_store(tmp_path_factory.mktemp("made") / "made", pictures())


@pytest.fixture(scope="module")
def exports(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exports")
    for format in FORMATS:
        export(store.stream("train", 3, (1, 2, 1), 2, seed=4), COUNT, folder / format, format)
    return folder


@pytest.fixture
def plan(exports: Path, tmp_path: Path) -> Path:
    return shutil.copytree(exports / "plan", tmp_path / "plan")


def rewrite(plan: Path, change: Callable[[dict], None]) -> None:
    """Change each line of a plan, and vouch for the result."""
    file = plan / "episodes.jsonl.gz"
    values = [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()]
    for value in values:
        change(value)
    file.write_bytes(gzip.compress("\n".join(map(json.dumps, values)).encode()))
    vouch_for(plan)


def vouch_for(plan: Path) -> None:
    from episodes.archive import file_sha256

    file = plan / "episodes.jsonl.gz"
    info = read_info(plan)
    described = replace(info.files[0], bytes=file.stat().st_size, sha256=file_sha256(file))
    write_info(plan, replace(info, files=(described,)))


@pytest.mark.parametrize("format", FORMATS)
def test_a_whole_export_passes_with_its_store_and_without(
    exports: Path, store: Store, format: str
) -> None:
    assert check(exports / format) == check(exports / format, store)
    assert check(exports / format).fingerprint == store.stream(
        "train", 3, (1, 2, 1), 2, seed=4
    ).fingerprint(COUNT)


@pytest.mark.parametrize("format", FORMATS)
def test_damage_is_named(exports: Path, tmp_path: Path, format: str) -> None:
    folder = shutil.copytree(exports / format, tmp_path / "copy")
    name = FILES[format][0]
    content = (folder / name).read_bytes()
    turned = bytearray(content)
    turned[len(content) // 2] ^= 1
    (folder / name).write_bytes(turned)
    with pytest.raises(EpisodesError, match=f"{name} is damaged: its SHA-256 is not that of"):
        check(folder)
    (folder / name).write_bytes(content[:-1])
    with pytest.raises(EpisodesError, match=f"{name} has {len(content) - 1} bytes; episodes.json"):
        check(folder)
    (folder / name).unlink()
    with pytest.raises(EpisodesError, match=f"cannot read .*{name}: No such file"):
        check(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace('"count": 6', '"count": 7'), "its SHA-256 differs"),
        (lambda text: text[:-20], "episodes.json is damaged"),
        (lambda text: "[1]", "has the export format None; this version reads 'episodes-export/1'"),
        (lambda text: text.replace("episodes-export/1", "episodes-export/9"), "format 'episodes-e"),
    ],
)
def test_a_changed_description_is_refused(
    plan: Path, change: Callable[[str], str], message: str
) -> None:
    path = plan / "episodes.json"
    path.write_text(change(path.read_text("utf-8")), "utf-8")
    with pytest.raises(EpisodesError, match=message):
        check(plan)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"spec": {"way": 3, "shot": 1, "query": 2, "colour": 1}}, "colour"),
        ({"spec": {"way": 1, "shot": 1, "query": 2}}, "way is 1"),
        ({"image_shape": (6, 5)}, "image_shape is"),
        ({"image_shape": ("6", 5, 3)}, "image_shape is"),
        ({"stores": ({"name": "made"},)}, "dataset"),
        ({"count": "6"}, "count is '6'"),
        ({"container": "zip"}, "there is no format zip"),
        ({"files": [{"file": "../episodes", "bytes": 1, "sha256": "", "episodes": 1}]}, "not the"),
        ({"files": [{"file": "episodes.h5", "bytes": None, "sha256": "", "episodes": 1}]}, "bytes"),
        ({"more": 1}, "more"),
    ],
)
def test_a_description_that_makes_no_sense_is_refused(
    plan: Path, change: dict, message: str
) -> None:
    import hashlib

    values = json.loads((plan / "episodes.json").read_text("utf-8")) | change
    del values["sha256"]
    canonical = json.dumps(values, sort_keys=True).encode()
    values["sha256"] = hashlib.sha256(canonical).hexdigest()
    (plan / "episodes.json").write_text(json.dumps(values), "utf-8")
    with pytest.raises(EpisodesError, match=f"episodes.json is damaged .*{message}"):
        check(plan)


def test_a_fingerprint_that_is_not_the_episodes_is_refused(
    exports: Path, plan: Path, store: Store, tmp_path: Path
) -> None:
    rewrite(plan, lambda value: value["class_names"].reverse())
    with pytest.raises(EpisodesError, match="the fingerprint of the plan in .* is .*; episodes.js"):
        check(plan)
    arrow = shutil.copytree(exports / "arrow", tmp_path / "arrow")
    write_info(arrow, replace(read_info(arrow), seed=5))
    assert check(arrow).seed == 5
    with pytest.raises(EpisodesError, match="the fingerprint of Stream.*seed 5.* is "):
        check(arrow, store)


def test_another_store_is_told_apart(plan: Path, tmp_path: Path) -> None:
    other = make_store(tmp_path / "other", pictures(seed=1))
    with pytest.raises(UsageError, match=r"made has other content \(digest .* than the made that"):
        check(plan, other)
    larger = make_store(tmp_path / "larger", pictures(shape=(8, 5, 3)))
    with pytest.raises(UsageError, match="made holds pixels of 8x5, which are not resized again"):
        check(plan, larger)
    with pytest.raises(UsageError, match="2 stores given; the export is of 1"):
        check(plan, [other, other])


def test_the_store_at_hand_is_the_one_of_that_name_and_content(
    plan: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EPISODES_HOME", str(tmp_path / "home"))
    info = read_info(plan)
    assert stores_at_hand(info) == ([], "made is not prepared here")
    shutil.copytree(store.path, tmp_path / "home/stores/made")
    found, why_not = stores_at_hand(info)
    assert [each.digest for each in found] == [store.digest] and why_not == ""
    shutil.rmtree(tmp_path / "home/stores/made")
    make_store(tmp_path / "home/stores/made", pictures(shape=(8, 8, 3)))
    assert stores_at_hand(info) == ([], "the made prepared here has images of another size")


def test_exports_of_views_and_of_several_schemes_are_checked(tmp_path: Path) -> None:
    images = pictures()
    files = encoded_all(images)
    views, splits = [], ("early", "late")
    for position, scheme in enumerate(splits):
        parts = {"train": (0, 1, 2, 3 + position), "val": (), "test": ()}
        options = {"splits": {scheme: parts}, "default_scheme": scheme}
        made = make_store(tmp_path / scheme, files, "hdf5", "original", **options)
        views.append(made.at_size(4))
    episodes = stream(views, "train", 3, 1, 2)
    assert episodes.split == "early.train+late.train"
    export(episodes, 3, tmp_path / "views", "arrow")
    assert check(tmp_path / "views", [Store(tmp_path / name) for name in splits]).count == 3
    union = make_store(
        tmp_path / "union",
        images,
        splits={"all": {"train": (0, 1), "val": (2, 3), "test": (4, 5, 6)}},
    )
    export(union.stream("train+val", 3, 1, 2), 3, tmp_path / "of-union")
    assert check(tmp_path / "of-union", union).split == "all.train+val"


def test_a_plan_is_read_with_any_store_of_its_images(
    plan: Path, store: Store, tmp_path: Path
) -> None:
    images = pictures()
    shuffled = {name: dict(reversed(images[name].items())) for name in reversed(images)}
    shuffled = {"another": pictures(seed=5)["bée/1"], **shuffled}
    for position, (container, encoding) in enumerate([("hdf5", "raw"), ("webdataset", "original")]):
        given = shuffled if encoding == "raw" else encoded_all(shuffled)
        other = make_store(tmp_path / str(position), given, container, encoding)
        read = list(read_plan(plan, other))
        assert len(read) == COUNT
        for episode, original in zip(
            read, store.stream("train", 3, (1, 2, 1), 2, seed=4).iterate(0, COUNT), strict=True
        ):
            assert episode.index == original.index
            for name in ("support_images", "query_images", "support_labels", "query_labels"):
                found = getattr(episode, name)
                np.testing.assert_array_equal(found, getattr(original, name))
                assert found.dtype == getattr(original, name).dtype
            names = [other.class_names[index] for index in episode.class_ids]
            assert names == [store.class_names[index] for index in original.class_ids]


def test_what_a_store_lacks_of_a_plan_is_named(plan: Path, tmp_path: Path) -> None:
    first = json.loads(gzip.decompress((plan / "episodes.jsonl.gz").read_bytes()).splitlines()[0])
    class_name, image_id = first["class_names"][0], first["support"][0]["id"]
    images = pictures()

    def error_with(changed: dict, name: str) -> str:
        with pytest.raises(EpisodesError) as caught:
            list(read_plan(plan, make_store(tmp_path / name, changed)))
        return str(caught.value)

    without_class = {name: of for name, of in images.items() if name != class_name}
    assert error_with(without_class, "a") == (
        f"made has no class {class_name!r}, which episode 0 of the plan has"
    )
    without_image = {
        name: {key: pixels for key, pixels in of.items() if key != image_id}
        for name, of in images.items()
    }
    assert error_with(without_image, "b") == (
        f"made has no image {image_id!r} of the class {class_name!r}, "
        "which episode 0 of the plan has"
    )
    inverted = {
        name: {key: 255 - pixels if key == image_id else pixels for key, pixels in of.items()}
        for name, of in images.items()
    }
    assert error_with(inverted, "c").startswith(
        f"the image {class_name}/{image_id} of made has other pixels than in episode 0 of the plan"
    )


def test_what_is_no_plan_is_refused_at_once(exports: Path, store: Store, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has the pixels, as arrow, and no plan"):
        read_plan(exports / "arrow", store)
    with pytest.raises(EpisodesError, match=r"is not an export: it has no episodes.json"):
        read_plan(tmp_path, store)
    with pytest.raises(UsageError, match="2 stores given; the export is of 1"):
        read_plan(exports / "plan", [store, store])


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value.pop("support"),
        lambda value: value.update(index="first"),
        lambda value: value["query"][0].update(label=3),
        lambda value: value["query"][0].update(label=-1),
        lambda value: value["query"][0].pop("sha256"),
        lambda value: value.update(source=1),
    ],
)
def test_a_damaged_plan_is_told_in_one_line(
    plan: Path, store: Store, change: Callable[[dict], None]
) -> None:
    rewrite(plan, change)
    with pytest.raises(EpisodesError) as caught:
        list(read_plan(plan, store))
    assert "episodes.jsonl.gz is damaged" in str(caught.value) or "is of store 1" in str(
        caught.value
    )
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "content", [b"", b"not gzip", gzip.compress(b"{")[:-4], gzip.compress(b"[")]
)
def test_a_plan_that_is_not_gzip_or_not_json_is_told(
    plan: Path, store: Store, content: bytes
) -> None:
    (plan / "episodes.jsonl.gz").write_bytes(content)
    vouch_for(plan)
    with pytest.raises(EpisodesError, match="episodes.jsonl.gz is damaged"):
        check(plan)
