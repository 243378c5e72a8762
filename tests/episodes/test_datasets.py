"""Every dataset from a small archive in its exact layout: fetched, resumed, prepared, opened."""

import hashlib
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from episodes import manifest
from episodes.download import Retries
from episodes.manifest import Manifest
from episodes.prepare import prepare
from episodes.prepare.building import natural_order
from episodes.store import Store
from tests.episodes.layouts import Images, all_layouts, small
from tests.episodes.servers import Server, serving

LAYOUTS = all_layouts()
CUTS = ["cut 700", "hang-up", "cut 900", "status 503", "cut 1"]


def expected_row(image: bytes | np.ndarray, size: int, resize: str) -> np.ndarray:
    picture = Image.open(io.BytesIO(image)) if isinstance(image, bytes) else Image.fromarray(image)
    picture = picture.convert("RGB")
    if picture.size != (size, size):
        picture = picture.resize((size, size), Image.Resampling[resize.upper()])
    return np.asarray(picture)


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
        expected = expected_row(images[wanted[position]], facts.image.size, facts.image.resize)
        np.testing.assert_array_equal(row, expected)


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


@pytest.mark.parametrize(("dataset", "source"), LAYOUTS, ids=[":".join(key) for key in LAYOUTS])
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
        asked = {name: len(server.files[name].requests) for name in scripts}
        assert min(asked.values()) >= 3, asked
    assert fetched.digest == store.digest
    check(fetched, facts, images)
    fetched.verify(deep=True)
