"""The same split of a store in the formats that the peers read."""

import csv
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np

import episodes
from episodes import images as codec
from episodes.store import Store
from streaming_bench.task import Task

DONE = "done"


def pickled(task: Task, scratch: Path, files: str | None) -> Path:
    """The folder of learn2learn's mini-imagenet-cache-train.pkl: one array, and rows by class."""
    return _once(task, scratch / "learn2learn", _write_pickle)


def hdf5(task: Task, scratch: Path, files: str | None) -> Path:
    """The folder of torchmeta's miniimagenet/train_data.hdf5 and train_labels.json."""
    return _once(task, scratch / "torchmeta", _write_hdf5)


def image_folders(task: Task, scratch: Path, files: str | None) -> Path:
    """images/CLASS/..., easyfsl's classes.json and LibFewShot's train.csv.

    The images are those files that the store `files` keeps, or else PNGs.
    """

    def write(store: Store, task: Task, folder: Path) -> None:
        _write_folders(store if files is None else episodes.open(files), task, folder)

    return _once(task, scratch / "folders", write)


def _once(task: Task, folder: Path, write: Callable[[Store, Task, Path], None]) -> Path:
    """`folder` under the store's digest, filled unless an earlier run filled it."""
    store = episodes.open(task.store)
    folder = folder / f"{store.digest[:12]}-{task.split}"
    if not (folder / DONE).exists():
        folder.mkdir(parents=True, exist_ok=True)
        write(store, task, folder)
        (folder / DONE).touch()
    return folder


def _rows_by_class(store: Store, split: str) -> dict[str, np.ndarray]:
    """The rows of each class of the split, by a name that can be a file's."""
    return {
        store.class_names[index].replace("/", "--"): store.class_starts[index]
        + np.arange(store.class_sizes[index])
        for index in store.split_classes(split).tolist()
    }


def _write_pickle(store: Store, task: Task, folder: Path) -> None:
    classes = _rows_by_class(store, task.split)
    ends = np.cumsum([len(rows) for rows in classes.values()])
    places = {
        name: list(range(end - len(rows), end))
        for (name, rows), end in zip(classes.items(), ends.tolist(), strict=True)
    }
    pixels = store.images(np.concatenate(list(classes.values())))
    with (folder / "mini-imagenet-cache-train.pkl").open("wb") as file:
        pickle.dump({"image_data": pixels, "class_dict": places}, file, protocol=4)


def _write_hdf5(store: Store, task: Task, folder: Path) -> None:
    import h5py

    (folder / "miniimagenet").mkdir(exist_ok=True)
    classes = _rows_by_class(store, task.split)
    with h5py.File(folder / "miniimagenet" / "train_data.hdf5", "w") as file:
        group = file.create_group("datasets")
        for name, rows in classes.items():
            group.create_dataset(name, data=store.images(rows))
    labels = folder / "miniimagenet" / "train_labels.json"
    labels.write_text(json.dumps(sorted(classes)))


def _write_folders(store: Store, task: Task, folder: Path) -> None:
    listed = []
    classes = _rows_by_class(store, task.split)
    for name, rows in classes.items():
        (folder / "images" / name).mkdir(parents=True, exist_ok=True)
        for row in rows.tolist():
            if store.info.keeps_pixels:
                image, suffix = codec.encode_png(store.image(row)), "png"
            else:
                image = store.encoded(row)
                suffix = "png" if image.startswith(b"\x89PNG") else "jpg"
            path = f"{name}/{row}.{suffix}"
            (folder / "images" / path).write_bytes(image)
            listed.append((path, name))
    with (folder / "train.csv").open("w", newline="") as table:
        csv.writer(table).writerows([("filename", "label"), *listed])
    roots = [str(folder / "images" / name) for name in classes]
    specs = {"class_names": list(classes), "class_roots": roots}
    (folder / "classes.json").write_text(json.dumps(specs))
