"""Task files: what their streams give, and files that are not what they should be."""

import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from episodes.errors import EpisodesError, UsageError
from tests.trainers.test_tasks import FAR, assert_same, key_by_hand, words_by_hand
from trainers.tasks import FileStream, TaskFile

# The fingerprint of 20 tasks by algorithm tasks/1. It must never change: results hang on it.
GOLDEN = "77438925d2d485eb93ef719d794783358eca680b70af78c4caa93fa384cfcbef"
SPLITS = {"aspirin": "train", "zinc": "test", "beta": "train", "mu": "train"}
COUNTS = {"aspirin": 7, "zinc": 9, "beta": 12, "mu": 6}


def columns() -> dict[str, np.ndarray]:
    """Points in a mixed order; input (row, row squared), target -row: each point tells its row."""
    names = [name for name, count in COUNTS.items() for _ in range(count)]
    task = np.array(names)[np.random.RandomState(0).permutation(len(names))]
    row = np.arange(len(task), dtype=np.float64)
    split = np.array([SPLITS[name] for name in task])
    return {"task": task, "inputs": np.stack([row, row**2], 1), "targets": -row, "split": split}


def write(path: Path, **changes: object) -> Path:
    table = {**columns(), **changes}
    present = {name: value for name, value in table.items() if value is not None}
    if path.suffix == ".npz":
        np.savez(path, **present)
    else:
        as_lists = {n: v.tolist() if isinstance(v, np.ndarray) else v for n, v in present.items()}
        parquet.write_table(pyarrow.table(as_lists), path, row_group_size=10)
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> TaskFile:
    return TaskFile(write(tmp_path_factory.mktemp("tasks") / "drugs.npz"))


def test_a_file_tells_its_splits_and_shapes(file: TaskFile) -> None:
    in_order = list(dict.fromkeys(columns()["task"].tolist()))
    assert file.tasks == {
        split: [name for name in in_order if SPLITS[name] == split] for split in ("train", "test")
    }
    assert (file.input_shape, file.outputs) == ((2,), 1)
    assert repr(file).endswith("drugs.npz: 1 test, 3 train tasks)")


@settings(max_examples=60, deadline=None)
@given(
    data=st.data(),
    split=st.sampled_from(["train", "test"]),
    start=st.integers(0, 2**60),
    size=st.integers(1, 12),
    shot=st.integers(1, 4),
    query=st.integers(1, 2),
)
def test_tasks_are_disjoint_points_of_one_task_whatever_the_batch(
    file: TaskFile,
    data: st.DataObject,
    split: str,
    start: int,
    size: int,
    shot: int,
    query: int,
) -> None:
    stream = file.stream(split, shot, query, seed=3)
    batch, names = stream.batch(start, size), stream.task_names(start, size)
    assert batch.support_inputs.shape == (size, shot, 2)
    assert batch.query_targets.shape == (size, query, 1)
    assert batch.support_inputs.dtype == batch.query_targets.dtype == np.float32
    inputs = np.concatenate([batch.support_inputs, batch.query_inputs], axis=1)
    targets = np.concatenate([batch.support_targets, batch.query_targets], axis=1)
    rows = inputs[..., 0].astype(int)
    np.testing.assert_array_equal(inputs[..., 1], rows**2)
    np.testing.assert_array_equal(targets[..., 0], -rows)
    for position, name in enumerate(names):
        assert len(set(rows[position].tolist())) == shot + query
        assert set(columns()["task"][rows[position]]) == {name}
        assert SPLITS[str(name)] == split
    place = data.draw(st.integers(0, size - 1))
    assert_same(
        stream.batch(start + place, size - place),
        type(batch)(*(getattr(batch, field)[place:] for field in batch.__dataclass_fields__)),
    )


@pytest.mark.parametrize("index", [0, 5, FAR])
def test_a_task_is_what_plain_python_makes_of_the_words(file: TaskFile, index: int) -> None:
    tasks = file.tasks["train"]
    family = '{"family":"TaskFile"}'
    order = words_by_hand(key_by_hand(family, "order", "train", 1), index // 3, 3)
    name = tasks[sorted(range(3), key=order.__getitem__)[index % 3]]
    rows = np.flatnonzero(columns()["task"] == name).tolist()
    words = words_by_hand(key_by_hand(family, "points", "train", 1, shot=2, query=3), index, 5)
    for step, word in enumerate(words):
        other = step + (word * (len(rows) - step) >> 64)
        rows[step], rows[other] = rows[other], rows[step]
    task = file.stream("train", shot=2, query=3)[index]
    assert task.support_inputs[:, 0].tolist() == rows[:2]
    assert task.query_inputs[:, 0].tolist() == rows[2:5]


def test_every_round_has_each_task_once_in_an_order_of_its_own(file: TaskFile) -> None:
    stream = file.stream("train", 2, 2)
    assert len(stream) == 3
    rounds = [tuple(stream.task_names(3 * number, 3)) for number in range(300)]
    assert all(sorted(names) == sorted(file.tasks["train"]) for names in rounds)
    counts = np.array(list(Counter(rounds).values()))
    assert len(counts) == 6
    assert ((counts - 50) ** 2 / 50).sum() < 20.5  # chi-square, 5 degrees: once in a thousand


def test_points_are_chosen_uniformly(file: TaskFile) -> None:
    batch = file.stream("test", 2, 2).batch(0, 4500)
    rows, counts = np.unique(batch.support_inputs[..., 0], return_counts=True)
    assert len(rows) == 9
    assert ((counts - 1000) ** 2 / 1000).sum() < 26.1  # chi-square, 8 degrees


def test_the_tasks_never_change(file: TaskFile) -> None:
    assert file.stream("train", 2, 3).fingerprint(20) == GOLDEN


def test_seeds_differ_and_pickled_streams_do_not(file: TaskFile) -> None:
    stream = file.stream("train", 2, 3, seed=1)
    assert stream.fingerprint(6) != file.stream("train", 2, 3, seed=2).fingerprint(6)
    again: FileStream = pickle.loads(pickle.dumps(stream))
    assert again.fingerprint(6) == stream.fingerprint(6)


def test_parquet_gives_the_tasks_of_npz(file: TaskFile, tmp_path: Path) -> None:
    expected = file.stream("train", 2, 3).batch(0, 8)
    for name, changes in {
        "lists": {},
        "target_lists": {"targets": columns()["targets"][:, np.newaxis]},
        "dictionaries": {"task": pyarrow.array(columns()["task"].tolist()).dictionary_encode()},
        "tensors": {
            "inputs": pyarrow.FixedShapeTensorArray.from_numpy_ndarray(columns()["inputs"])
        },
    }.items():
        written = write(tmp_path / f"{name}.parquet", **changes)
        assert_same(TaskFile(written).stream("train", 2, 3).batch(0, 8), expected)


@pytest.mark.parametrize("kind", ["npz", "lists.parquet", "tensors.parquet"])
def test_images_stay_pixels_and_numbered_tasks_keep_their_numbers(
    kind: str, tmp_path: Path
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (12, 4, 5, 3), np.uint8)
    poses = np.arange(24, dtype=np.float32).reshape(12, 2)
    inputs: object = images
    if kind == "lists.parquet":
        nested = pyarrow.list_(pyarrow.list_(pyarrow.list_(pyarrow.uint8(), 3)))
        inputs = pyarrow.array(images.tolist(), nested)
    elif kind == "tensors.parquet":
        inputs = pyarrow.FixedShapeTensorArray.from_numpy_ndarray(images)
    path = tmp_path / f"poses.{kind}"
    task, split = np.repeat([30, 10], 6), np.repeat(["train"], 12)
    file = TaskFile(write(path, task=task, inputs=inputs, targets=poses, split=split))
    assert (file.tasks, file.input_shape, file.outputs) == ({"train": [30, 10]}, (4, 5, 3), 2)
    batch = file.stream("train", 1, 2).batch(0, 2)
    assert (batch.query_inputs.dtype, batch.query_inputs.shape) == (np.uint8, (2, 2, 4, 5, 3))
    for point, pose in zip(
        batch.query_inputs.reshape(-1, 4, 5, 3), batch.query_targets.reshape(-1, 2), strict=True
    ):
        np.testing.assert_array_equal(point, images[int(pose[0]) // 2])


def test_bits_of_a_fingerprint_become_numbers(tmp_path: Path) -> None:
    bits = np.random.default_rng(0).integers(0, 2, (34, 16)).astype(np.uint8)
    batch = TaskFile(write(tmp_path / "bits.npz", inputs=bits)).stream("test", 1, 3).batch(0, 2)
    assert batch.query_inputs.dtype == np.float32
    assert set(batch.query_inputs.ravel().tolist()) == {0.0, 1.0}


def test_text_as_bytes_is_text(tmp_path: Path) -> None:
    table = columns()
    path = write(tmp_path / "bytes.npz", task=table["task"].astype("S"))
    assert TaskFile(path).tasks["test"] == ["zinc"]


ROWS = len(columns()["task"])


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": None}, "no split among the columns task, inputs, targets; expected task, inp"),
        ({"split": None, "task": None}, "no task and no split among"),
        ({"task": np.arange(ROWS) / 2}, r"task is (float64|double) \[34\]; expected one whole nu"),
        ({"split": np.zeros(ROWS, int)}, r"split is int64 \[34\]; expected one text"),
        ({"inputs": np.full((ROWS, 3), np.nan)}, "inputs of point 0 is no finite float32"),
        ({"targets": np.full(ROWS, 1e39)}, "targets of point 0 is no finite float32"),
        ({"targets": np.r_[np.zeros(ROWS - 1), np.inf]}, "targets of point 33 is no finite"),
        ({"task": np.full(ROWS, "")[:, np.newaxis]}, r"task is <U1 \[34, 1\]; expected one whole"),
        ({"targets": np.full(ROWS, "1.5")}, r"targets is <U3 \[34, 1\]; expected numbers"),
        ({"inputs": np.zeros((ROWS, 0))}, r"inputs is .* \[34, 0\]; expected numbers"),
        ({"inputs": np.zeros((ROWS, 2, 2))}, r"inputs is float64 \[34, 2, 2\]; expected"),
        ({"inputs": np.zeros((ROWS, 2, 2, 1))}, "images in inputs are float64; expected uint8"),
        ({"split": np.array(["train", "test"] * 17)}, "is in split .* and in .*; expected each"),
    ],
)
def test_tables_that_are_wrong_are_refused_in_one_line(
    changes: dict, message: str, suffix: str, tmp_path: Path
) -> None:
    path = write(tmp_path / f"wrong{suffix}", **changes)
    with pytest.raises(EpisodesError, match=message) as caught:
        TaskFile(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_columns_of_other_lengths_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "short.npz", targets=np.zeros(ROWS - 1))
    with pytest.raises(EpisodesError, match="differ in length: .*'targets': 33"):
        TaskFile(path)


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_a_file_without_points_is_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"empty{suffix}"
    empty = {name: column[:0] for name, column in columns().items()}
    if suffix == ".npz":
        np.savez(path, **empty)
    else:
        text, numbers = pyarrow.string(), pyarrow.float64()
        kinds = {"task": text, "inputs": numbers, "targets": numbers, "split": text}
        parquet.write_table(
            pyarrow.table({n: pyarrow.array([], k) for n, k in kinds.items()}), path
        )
    with pytest.raises(EpisodesError, match="there are no points"):
        TaskFile(path)


def test_lists_of_several_lengths_and_empty_cells_are_refused(tmp_path: Path) -> None:
    ragged = [[1.0]] * (ROWS - 1) + [[1.0, 2.0]]
    with pytest.raises(EpisodesError, match="inputs has lists of 1 to 2 values"):
        TaskFile(write(tmp_path / "ragged.parquet", inputs=ragged))
    holed = [None, *columns()["targets"].tolist()[1:]]
    with pytest.raises(EpisodesError, match="targets has 1 empty cells"):
        TaskFile(write(tmp_path / "holed.parquet", targets=holed))


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "latin.npz", task=np.full(ROWS, b"caf\xe9"))
    with pytest.raises(EpisodesError, match="cannot be read as NPZ: 'utf-8' codec"):
        TaskFile(path)


def test_python_objects_are_not_read(tmp_path: Path) -> None:
    path = write(tmp_path / "objects.npz", task=columns()["task"].astype(object))
    with pytest.raises(EpisodesError, match="Python objects, which are not read"):
        TaskFile(path)


def test_files_of_another_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is not there"):
        TaskFile(tmp_path / "none.npz")
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(UsageError, match="is not a file"):
        TaskFile(tmp_path / "folder.npz")
    with pytest.raises(UsageError, match=r"ends in '.csv'; expected .npz or .parquet"):
        TaskFile(tmp_path / "table.csv")
    np.save(tmp_path / "one.npy", np.zeros(3))
    one = (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    with pytest.raises(EpisodesError, match="one array, not NPZ"):
        TaskFile(one)


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_damaged_files_are_refused_in_one_line(suffix: str, tmp_path: Path) -> None:
    whole = write(tmp_path / f"whole{suffix}").read_bytes()
    damaged = tmp_path / f"damaged{suffix}"
    random = np.random.default_rng(0)
    refused = 0
    for trial in range(150):
        content = bytearray(whole)
        if trial % 3 == 0:
            del content[random.integers(len(content)) :]
        else:
            for place in random.integers(len(content), size=1 + trial % 7):
                content[place] ^= 1 << random.integers(8)
        damaged.write_bytes(content)
        try:
            TaskFile(damaged)
        except EpisodesError as error:
            assert "\n" not in str(error) and str(damaged) in str(error)
            refused += 1
    assert refused > 75


@pytest.mark.parametrize(
    ("split", "shot", "query", "message"),
    [
        ("tets", 1, 1, "did you mean 'test'"),
        ("val", 1, 1, r"unknown split 'val' \(known: t"),
        ("train", 4, 3, "task mu has 6 points; 4 support and 3 query points need 7"),
        ("train", 0, 3, "shot is 0"),
    ],
)
def test_streams_that_cannot_be_are_refused(
    file: TaskFile, split: str, shot: int, query: int, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        file.stream(split, shot, query)
