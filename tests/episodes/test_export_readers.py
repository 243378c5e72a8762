"""Exports as other programs read them: plain libraries, in a process without this package."""

import hashlib
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from episodes.export import FORMATS, export
from episodes.prepare import prepare
from episodes.store import Store
from episodes.stream import Stream, stream
from tests.episodes.made_stores import encoded_all, make_store
from tests.episodes.test_export import pictures

IMAGES = ("support_images", "query_images")
NUMBERS = ("index", "source", "class_ids", "support_labels", "query_labels")
TEXTS = ("class_names", "support_ids", "query_ids")

# What follows imports nothing of ours; it reads each export as its own library does.
PLAIN_READERS = """
import gzip, json, sys
import h5py, numpy as np, pyarrow, pyarrow.ipc, webdataset

images = ("support_images", "query_images")
numbers = ("index", "source", "class_ids", "support_labels", "query_labels")
texts = ("class_names", "support_ids", "query_ids")

def files(folder, name):
    described = json.load(open(f"{folder}/{name}/episodes.json", encoding="utf-8"))
    return [f"{folder}/{name}/{file['file']}" for file in described["files"]]

for folder in sys.argv[1:]:
    samples = list(webdataset.WebDataset(files(folder, "webdataset"), shardshuffle=False).decode())
    read = {name: [sample[f"{name}.npy"] for sample in samples] for name in (*images, *numbers[2:])}
    read |= {name: [sample["json"][name] for sample in samples] for name in (*numbers[:2], *texts)}
    np.savez(f"{folder}/webdataset.npz", **read)

    with h5py.File(*files(folder, "hdf5")) as file:
        read = {name: file[name][:] for name in (*images, *numbers)}
        read |= {name: file[name].asstr()[:].astype(str) for name in texts}
    np.savez(f"{folder}/hdf5.npz", **read)

    table = pyarrow.ipc.open_file(pyarrow.memory_map(*files(folder, "arrow"))).read_all()
    read = {name: table[name].to_pylist() for name in (*numbers, *texts)}
    for name in images:
        shape = json.loads(table.schema.field(name).metadata[b"shape"])
        flat = table[name].combine_chunks().flatten().to_numpy()
        read[name] = flat.reshape(-1, *shape)
    np.savez(f"{folder}/arrow.npz", **read)

    with gzip.open(*files(folder, "plan"), "rt", encoding="utf-8") as lines:
        plans = [json.loads(line) for line in lines]
    read = {name: [plan[name] for plan in plans] for name in ("index", "source", "class_names")}
    for part in ("support", "query"):
        for key, name in dict(label="labels", id="ids", row="rows", sha256="sha256").items():
            read[f"{part}_{name}"] = [[image[key] for image in plan[part]] for plan in plans]
    np.savez(f"{folder}/plan.npz", **read)

assert "episodes" not in sys.modules
"""
WITHOUT_TORCH = "import sys; sys.modules['torch'] = None  # webdataset takes seconds to load it\n"


def read_plainly(
    streams: Mapping[Path, Stream], count: int, set_up: str = WITHOUT_TORCH
) -> dict[Path, dict]:
    """What plain libraries read from exports of each stream in each format, as arrays by name."""
    for folder, episodes in streams.items():
        for format in FORMATS:
            export(episodes, count, folder / format, format)
    subprocess.run([sys.executable, "-c", set_up + PLAIN_READERS, *streams], check=True)
    return {
        folder: {format: dict(np.load(folder / f"{format}.npz")) for format in FORMATS}
        for folder in streams
    }


def expected(episodes: Stream, count: int) -> dict:
    """The same arrays, from the stream's episodes and plans."""
    all_names: dict[str, list] = {name: [] for name in (*IMAGES, *NUMBERS, *TEXTS)}
    for index in range(count):
        episode, plan = episodes[index], episodes.plan(index)
        of = episodes.stores[plan.source]
        for name in (*IMAGES, *NUMBERS):
            all_names[name].append(np.copy(getattr(episode, name)))
        all_names["class_names"].append([of.class_names[c] for c in plan.class_ids])
        all_names["support_ids"].append(of.ids(plan.support_rows))
        all_names["query_ids"].append(of.ids(plan.query_rows))
    return {name: np.array(values) for name, values in all_names.items()}


def check(read: dict, episodes: Stream, count: int) -> None:
    wanted = expected(episodes, count)
    for format in FORMATS[1:]:
        for name in (*IMAGES, *NUMBERS, *TEXTS):
            np.testing.assert_array_equal(read[format][name], wanted[name], f"{format} {name}")
        assert read[format]["support_images"].dtype == np.uint8
    plan = read["plan"]
    for name in (*NUMBERS[:2], *NUMBERS[3:], *TEXTS):
        np.testing.assert_array_equal(plan[name], wanted[name], name)
    for part in ("support", "query"):
        images = wanted[f"{part}_images"]
        hashes = [[hashlib.sha256(image.tobytes()).hexdigest() for image in of] for of in images]
        np.testing.assert_array_equal(plan[f"{part}_sha256"], hashes)
    rows = [episodes.plan(index).query_rows for index in range(count)]
    np.testing.assert_array_equal(plan["query_rows"], rows)


def test_plain_libraries_read_what_the_streams_give(tiny_store: Store, tmp_path: Path) -> None:
    raw = make_store(tmp_path / "raw", pictures())
    files = encoded_all(pictures(seed=1))
    kept = make_store(tmp_path / "kept", files, "webdataset", "original", 4000)
    streams = {
        tmp_path / "plain": tiny_store.stream("test", way=3, shot=2, query=4, seed=5),
        tmp_path / "ragged, of two": stream([raw, kept], "train", 3, (1, 3, 2), (2, 1, 3)),
    }
    read = read_plainly(streams, 70)
    for folder, episodes in streams.items():
        check(read[folder], episodes, 70)
    of_two = read[tmp_path / "ragged, of two"]
    assert set(of_two["arrow"]["source"]) == {0, 1}
    assert of_two["hdf5"]["support_labels"][0].tolist() == [0, 1, 1, 1, 2, 2]


@pytest.mark.real_data
def test_600_episodes_of_the_real_omniglot(archives: Path, tmp_path: Path) -> None:
    omniglot = prepare("omniglot", archives / "omniglot", home=tmp_path)
    episodes = omniglot.stream("test", way=5, shot=1, query=15, seed=1)
    read = read_plainly({tmp_path: episodes}, 600, set_up="")[tmp_path]
    check(read, episodes, 600)
    assert read["webdataset"]["query_images"].shape == (600, 75, 28, 28, 1)
