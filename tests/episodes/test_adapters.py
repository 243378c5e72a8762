"""What the adapters share, and those that need no more than the base packages."""

import importlib
import pickle
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import webdataset

from episodes.adapters import FIELDS, arrays, framework, jax, tensorflow
from episodes.adapters.grain import EpisodeSource
from episodes.adapters.huggingface import dataset
from episodes.adapters.webdataset import Samples
from episodes.episode import Episode, EpisodeBatch
from episodes.errors import UsageError
from episodes.stream import Stream
from tests.episodes.made_stores import encoded_all, make_store

CLASSES, IMAGES_A_CLASS = 7, 9
NEEDING: dict[str, Callable[[Stream], object]] = {
    "lightning": lambda stream: importlib.import_module("episodes.adapters.lightning"),
    "jax": lambda stream: jax.to_arrays(stream[0]),
    "tensorflow": tensorflow.dataset,
    "datasets": dataset,
    "webdataset": lambda stream: list(Samples(stream)),
}


def made_stream(
    folder: Path,
    shape: tuple[int, int, int] = (10, 8, 3),
    form: tuple[str, str] = ("hdf5", "raw"),
    shot: int | tuple[int, ...] = 2,
) -> Stream:
    """3-way 4-query episodes of 7 classes, from shards too small for a class."""
    random = np.random.default_rng(3)
    images = {
        f"class{number}": {
            f"{image}.png": random.integers(0, 256, shape, np.uint8)
            for image in range(IMAGES_A_CLASS)
        }
        for number in range(CLASSES)
    }
    files = images if form[1] == "raw" else encoded_all(images)
    store = make_store(folder / "store", files, *form, shard_bytes=4000)
    return store.stream("train", way=3, shot=shot, query=4, seed=11)


def assert_same(
    item: Mapping[str, object], episode: Episode | EpisodeBatch, channels_first: bool = False
) -> None:
    """Whether an adapter's item has the values of an episode or a batch of the NumPy stream."""
    assert set(item) == set(FIELDS)
    for name in FIELDS:
        value = item[name]
        found = np.asarray(value.cpu() if hasattr(value, "cpu") else value)
        if channels_first and name.endswith("images"):
            found = np.moveaxis(found, -3, -1)
        np.testing.assert_array_equal(found, getattr(episode, name), err_msg=name)
        assert found.shape == np.shape(getattr(episode, name))


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> Stream:
    return made_stream(tmp_path_factory.mktemp("adapters"))


def test_arrays_are_the_fields_without_a_copy(stream: Stream) -> None:
    for episode in (stream[5], stream.batch(5, 2)):
        values = arrays(episode)
        assert_same(values, episode)
        assert np.shares_memory(values["query_images"], episode.query_images)
        assert {value.dtype.name for value in values.values()} == {"uint8", "int64"}


@pytest.mark.parametrize("name", NEEDING)
def test_a_missing_framework_is_one_line_with_what_installs_it(
    stream: Stream, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)  # so that importing it fails
    monkeypatch.delitem(sys.modules, "episodes.adapters.lightning", raising=False)
    with pytest.raises(UsageError) as raised:
        NEEDING[name](stream)
    assert str(raised.value) == f"{name} is not installed: type `pip install {name}`"


def test_without_torch_its_adapter_says_what_installs_it() -> None:
    code = "import sys; sys.modules['torch'] = None; import episodes.adapters.torch"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stderr.splitlines()[-1] == (
        "episodes.errors.UsageError: torch is not installed: type `pip install torch`"
    )


def test_a_fault_inside_a_framework_is_not_taken_for_its_absence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_framework.py").write_text("import nothing_of_that_name")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="nothing_of_that_name"):
        framework("broken_framework", "broken")


def test_importing_the_adapters_loads_no_framework() -> None:
    modules = ("", ".grain", ".huggingface", ".jax", ".tensorflow", ".webdataset", ".resident")
    names = ["torch", "jax", "tensorflow", "datasets", "webdataset", "lightning", "grain"]
    imports = "; ".join(f"import episodes.adapters{module}" for module in modules)
    code = f"{imports}; import sys; print(*set({names}) & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (run.returncode, run.stdout.strip()) == (0, ""), run.stderr


def test_grain_source_gives_episodes_by_index(stream: Stream) -> None:
    source = EpisodeSource(stream, count=6, start=4)
    assert len(source) == 6
    for index in (0, np.int64(5)):
        assert_same(source[index], stream[4 + int(index)])
    for index in (-1, 6):
        with pytest.raises(IndexError):
            source[index]
    again = pickle.loads(pickle.dumps(source))
    assert repr(again) == repr(source) != repr(EpisodeSource(stream, count=6, start=5))
    with pytest.raises(UsageError, match="count -1"):
        EpisodeSource(stream, count=-1)


def test_webdataset_samples_are_those_that_an_export_decodes_to(
    stream: Stream, tmp_path: Path
) -> None:
    with webdataset.TarWriter(str(tmp_path / "episodes.tar")) as writer:
        for sample in Samples(stream, start=2, stop=5):
            writer.write({key: value for key, value in sample.items() if key != "__url__"})
    url = f"file:{tmp_path}/episodes.tar"
    read = list(webdataset.WebDataset(url, shardshuffle=False).decode())
    names = stream.stores[0].class_names
    assert len(read) == 3
    for sample, episode in zip(read, stream.iterate(2, 5), strict=True):
        assert sample["__key__"] == f"{episode.index:09d}"
        assert sample["json"] == {
            "index": episode.index,
            "source": 0,
            "class_names": [names[class_id] for class_id in episode.class_ids],
        }
        values = {name: sample[f"{name}.npy"] for name in FIELDS[:5]}
        assert_same({**values, "index": episode.index, "source": 0}, episode)


@pytest.mark.parametrize("workers", [0, 2])
def test_webdataset_pipeline_shares_samples_out_in_order(stream: Stream, workers: int) -> None:
    pipeline = webdataset.DataPipeline(
        Samples(stream, start=3, stop=14), webdataset.to_tuple("__key__", "query_images.npy")
    )
    loader = webdataset.WebLoader(pipeline, batch_size=None, num_workers=workers)
    read = list(loader)
    assert [int(key) for key, _ in read] == list(range(3, 14))
    np.testing.assert_array_equal(read[8][1], stream[11].query_images)


def test_webdataset_samples_are_shared_over_ranks(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    shares = []
    for rank in range(3):
        monkeypatch.setenv("RANK", str(rank))
        shares.append([int(sample["__key__"]) for sample in Samples(stream, start=1, stop=12)])
    assert shares == [[1, 4, 7, 10], [2, 5, 8, 11], [3, 6, 9]]


@pytest.fixture
def hugging_face_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path))


@pytest.mark.usefixtures("hugging_face_home")
def test_hugging_face_dataset_has_the_episodes_and_a_state(stream: Stream) -> None:
    rows = dataset(stream, start=2, stop=9)
    read = list(rows)
    for row, episode in zip(read, stream.iterate(2, 9), strict=True):
        assert_same(row, episode)
        assert row["query_images"].dtype == np.uint8
    kinds = {name: str(kind) for name, kind in rows.features.items()}
    assert kinds["support_images"] == "Array4D(shape=(6, 10, 8, 3), dtype='uint8')"
    iterator = iter(rows)
    for _ in range(3):
        next(iterator)
    other = dataset(stream, start=2, stop=9)
    other.load_state_dict(rows.state_dict())
    assert [row["index"] for row in other] == [5, 6, 7, 8]


@pytest.mark.usefixtures("hugging_face_home")
def test_hugging_face_dataset_is_shared_over_workers_and_nodes(stream: Stream) -> None:
    from datasets.distributed import split_dataset_by_node
    from torch.utils.data import DataLoader

    rows = dataset(stream, start=3, stop=12, shards=2)
    assert [row["index"] for row in rows] == [3, 5, 7, 9, 11, 4, 6, 8, 10]
    loader = DataLoader(rows, batch_size=None, num_workers=2)
    assert [int(row["index"]) for row in loader] == list(range(3, 12))
    nodes = [[row["index"] for row in split_dataset_by_node(rows, rank, 2)] for rank in (0, 1)]
    assert nodes == [[3, 5, 7, 9, 11], [4, 6, 8, 10]]
    with pytest.raises(UsageError, match="shards need"):
        dataset(stream, shards=2)
