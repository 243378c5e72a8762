"""Every dataset from a small archive in its exact layout: fetched, resumed, prepared, opened."""

import hashlib
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from episodes import manifest, readers
from episodes.download import Retries
from episodes.errors import EpisodesError, UsageError
from episodes.manifest import Manifest
from episodes.prepare import prepare
from episodes.prepare.building import natural_order
from episodes.store import Store
from tests.episodes.layouts import Images, all_layouts, small
from tests.episodes.servers import Server, serving

LAYOUTS = all_layouts()
LARGE = {("fungi", "archives")}
"""Of so many classes that an archive takes ten seconds: in the slow tier."""
CUTS = ["cut 700", "hang-up", "cut 900", "status 503", "cut 1"]
BYTES_BEFORE_THE_THIRD = 700


def expected_row(image: bytes | np.ndarray, facts: Manifest) -> np.ndarray:
    size, resize = facts.image.size, facts.image.resize
    picture = Image.open(io.BytesIO(image)) if isinstance(image, bytes) else Image.fromarray(image)
    picture = picture.convert({1: "L", 3: "RGB"}[facts.image.channels])
    if picture.size != (size, size):
        picture = picture.resize((size, size), Image.Resampling[resize.upper()])
    return np.asarray(picture).reshape(size, size, facts.image.channels)


def check(store: Store, facts: Manifest, images: Images) -> None:
    assert store.class_names == facts.class_names
    assert tuple(store.class_sizes) == facts.class_images
    wanted = [
        (name, image_id)
        for name in facts.class_names
        for image_id in sorted((i for c, i in images if c == name), key=natural_order)
    ]
    assert len(wanted) == store.info.rows
    assert store.ids(np.arange(len(wanted))) == [image_id for _, image_id in wanted]
    some = range(0, len(wanted), max(1, len(wanted) // 40))
    rows = store.images(np.array(some))
    for row, position in zip(rows, some, strict=True):
        np.testing.assert_array_equal(row, expected_row(images[wanted[position]], facts))


def hosted(facts: Manifest, folder: Path, server: Server) -> Manifest:
    """`facts` whose files are those of `folder`, on `server`, with their sizes and hashes."""
    source = facts.sources[0]
    files = tuple(
        replace(
            file,
            access="open",
            urls=(server.address(file.name),),
            bytes=(folder / file.name).stat().st_size,
            sha256=hashlib.sha256((folder / file.name).read_bytes()).hexdigest(),
            md5=None,
        )
        for file in source.files_for("none")
    )
    return replace(facts, sources=(replace(source, files=files),))


@pytest.mark.parametrize(
    ("dataset", "source"),
    [
        pytest.param(*key, id=":".join(key), marks=[pytest.mark.slow] if key in LARGE else [])
        for key in LAYOUTS
    ],
)
def test_from_its_archives_over_http_in_both_formats(
    dataset: str, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("episodes.download.Retries", lambda: Retries(6, 0.001))
    archives = tmp_path / "archives"
    archives.mkdir()
    facts = small(manifest.load(dataset), source)
    images = LAYOUTS[dataset, source](archives, facts)

    store = prepare(facts, archives, home=tmp_path / "given", threads=1)
    check(store, facts, images)

    scripts = {file.name: list(CUTS) for file in facts.sources[0].files_for("none")}
    with serving(archives, scripts) as server:
        online = hosted(facts, archives, server)
        fetched = prepare(online, home=tmp_path / "fetched", container="webdataset", threads=1)
        asked = {
            name: len(server.files[name].requests)
            for name in scripts
            if (archives / name).stat().st_size > BYTES_BEFORE_THE_THIRD
        }
        assert asked and min(asked.values()) >= 3, asked
    assert fetched.digest == store.digest
    check(fetched, facts, images)
    fetched.verify(deep=True)


@pytest.mark.parametrize("dataset", ["cub", "aircraft", "dogs"])
def test_boxes_are_cut_out_and_fetched_where_they_are_needed(
    dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archives = tmp_path / "archives"
    archives.mkdir()
    facts = small(manifest.load(dataset), "archive")
    LAYOUTS[dataset, "archive"](archives, facts)
    whole = prepare(facts, archives, home=tmp_path, threads=1)
    cut = prepare(facts, archives, home=tmp_path, crop="box", threads=1)
    assert cut.name == f"{dataset}-box"
    assert cut.class_names == whole.class_names
    rows = np.arange(whole.info.rows)
    assert cut.ids(rows) == whole.ids(rows)
    assert cut.digest != whole.digest
    original = prepare(facts, archives, home=tmp_path, encoding="original", threads=1)
    source = facts.sources[0]
    read = readers.reader_of(source)(facts, source, archives, True)
    boxes = {(record.class_name, record.image_id): record.box for record in read}
    names = np.repeat(cut.class_names, cut.class_sizes)
    for row in range(0, len(rows), 11):
        left, upper, right, lower = boxes[names[row], cut.ids(rows[row : row + 1])[0]]
        picture = Image.fromarray(original.image(row))
        inside = (max(left, 0), max(upper, 0), min(right, picture.width))
        picture = picture.crop((*inside, min(lower, picture.height)))
        expected = picture.resize((84, 84), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(cut.image(row), np.asarray(expected))


def test_twins_are_left_out(tmp_path: Path) -> None:
    archives = tmp_path / "archives"
    archives.mkdir()
    shipped = manifest.load("cub")
    facts = replace(small(shipped, "archive"), twins=shipped.twins)
    images = LAYOUTS["cub", "archive"](archives, facts)
    assert facts.twins is not None
    present = {"/".join(key) for key in images} & set(facts.twins.images)
    facts = replace(facts, twins=replace(facts.twins, images=dict.fromkeys(present, "x/y")))
    store = prepare(facts, archives, home=tmp_path, drop_twins=True, threads=1)
    assert len(present) > 3
    assert (store.name, store.info.rows) == ("cub-no-twins", len(images) - len(present))
    names = np.repeat(store.class_names, store.class_sizes)
    left = {f"{c}/{i}" for c, i in zip(names, store.ids(np.arange(store.info.rows)), strict=True)}
    assert left == {"/".join(key) for key in images} - present


def test_a_source_can_be_chosen_and_is_not_taken_for_another(tmp_path: Path) -> None:
    shipped = manifest.load("fc100")
    for name in ("cifar-100-python", "cifar-100-binary"):
        (tmp_path / name).mkdir()
        LAYOUTS["fc100", name](tmp_path / name, small(shipped, name))
    facts = replace(small(shipped, "cifar-100-python"), sources=shipped.sources)
    store = prepare(facts, tmp_path / "cifar-100-python", home=tmp_path, threads=1)
    assert store.info.source == "cifar-100-python"
    with pytest.raises(EpisodesError, match="made from cifar-100-python with"):
        prepare(facts, tmp_path / "cifar-100-binary", home=tmp_path, variant="cifar-100-binary")
    with pytest.raises(UsageError, match="source of fc100 'cifar-100-binry': did you mean"):
        prepare(facts, tmp_path, home=tmp_path / "new", variant="cifar-100-binry")
    with pytest.raises(EpisodesError, match="lacks test and the fine label names"):
        prepare(facts, tmp_path, home=tmp_path / "new", threads=1)


def test_corrupt_images_stop_the_run_or_are_listed(tmp_path: Path) -> None:
    archives = tmp_path / "archives" / "Images"
    facts = small(manifest.load("dogs"), "archive")
    packed = tmp_path / "packed"
    packed.mkdir()
    images = LAYOUTS["dogs", "archive"](packed, facts)
    for (name, image_id), encoded in images.items():
        assert isinstance(encoded, bytes)
        (archives / name).mkdir(parents=True, exist_ok=True)
        (archives / name / image_id).write_bytes(encoded)
    broken = sorted(images)[3:6]
    for name, image_id in broken:
        (archives / name / image_id).write_bytes(b"\xff\xd8 not much of a JPEG")
    with pytest.raises(EpisodesError, match="does not decode .*; .*; .*add --skip-corrupt") as told:
        prepare(facts, archives.parent, home=tmp_path, threads=1)
    assert all("/".join(key) in str(told.value) for key in broken)
    store = prepare(facts, archives.parent, home=tmp_path, skip_corrupt=True, threads=1)
    assert store.info.rows == len(images) - 3
    assert [(entry["class"], entry["id"]) for entry in store.info.skipped] == broken
    assert store.info.marks == ("3 corrupt images skipped",)
    with pytest.raises(EpisodesError, match="which is not whole"):
        prepare(facts, archives.parent, home=tmp_path, threads=1)
