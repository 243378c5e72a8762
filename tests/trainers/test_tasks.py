"""Streams of regression tasks: algorithm tasks/1 in plain Python, and what every stream keeps."""

import hashlib
import json
import math
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from episodes.errors import UsageError
from tests.episodes.test_sampling_by_hand import philox4x64_10
from trainers import tasks
from trainers.tasks import FAMILIES, RegressionBatch, Sinusoid, SinusoidLine
from trainers.tasks.elementary import logarithm, normals, sine, uniforms

FAR = 10**12
ARRAYS = ("support_inputs", "support_targets", "query_inputs", "query_targets", "index")

# Fingerprints of 20 tasks by algorithm tasks/1. They must never change: results hang on them.
GOLDEN = {
    "sinusoid": "df89e532d5e203f27da1549269471054f5c2a46504e9a9505dd01e8a3c1b5a62",
    "sinusoid-frequency": "027ab1a944b0c4b5d2c3ec7b9bebce1358138eaa6eae35bad5ee3f8c9d0554fe",
    "sinusoid-480": "8164fe6aa32c6bc9f730f82ca2265cd167431c7c4c66ad79e9898d7095cbd2bd",
    "sinusoid-line": "b1bee7a4b31593f72e635008a8b9c6924ec303f80100901b95c44bb7bfc944d9",
    "harmonic": "f52e25c0a3cdcc89b02117f9755bdeb23e15ccb5f650c684b779e3dae52e6b6f",
}


def key_by_hand(family: str, purpose: str, split: str, seed: int, **counts: int) -> int:
    line = {"algorithm": "tasks/1", "of": family, "purpose": purpose, **counts}
    text = json.dumps(line, sort_keys=True, separators=(",", ":"))
    identity = f"plan/1\n{seed}\n{split}\n{text}"
    return int.from_bytes(hashlib.sha256(identity.encode()).digest()[:16], "little")


def words_by_hand(key: int, row: int, count: int) -> list[int]:
    blocks = -(-count // 4)
    words = [philox4x64_10(key, row * blocks + block + 1) for block in range(blocks)]
    return [word for block in words for word in block][:count]


def unit(word: int) -> float:
    return (word >> 11) / 2**53


def normal(first: int, second: int) -> float:
    radius = math.sqrt(-2 * math.log(1 - unit(first)))
    return radius * math.sin(2 * math.pi * unit(second))


def flat(batch: RegressionBatch) -> np.ndarray:
    return np.concatenate([getattr(batch, name).ravel() for name in ARRAYS[:-1]])


def assert_same(first: RegressionBatch, second: RegressionBatch) -> None:
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), strict=True)


@pytest.mark.parametrize("index", [0, 3, FAR])
def test_a_sinusoid_is_what_plain_python_makes_of_the_words(index: int) -> None:
    settings = {"amplitude": [0.1, 5.0], "domain": [-5.0, 5.0], "family": "Sinusoid"}
    settings |= {"frequency": [0.8, 1.2], "functions": None, "noise": 0.0}
    settings |= {"offset": [0.0, 0.0], "phase": [0.0, math.pi]}
    line = json.dumps(settings, sort_keys=True, separators=(",", ":"))
    drawn = words_by_hand(key_by_hand(line, "functions", "test", 7), index, 4)
    amplitude, frequency = 0.1 + 4.9 * unit(drawn[0]), 0.8 + 0.4 * unit(drawn[1])
    phase = math.pi * unit(drawn[2])
    points_key = key_by_hand(line, "points", "test", 7, shot=2, query=3)
    inputs = [np.float32(-5 + 10 * unit(w)) for w in words_by_hand(points_key, index, 6)[1:]]
    targets = [amplitude * math.sin(frequency * float(x) + phase) for x in inputs]

    task = tasks.stream("sinusoid-frequency", "test", shot=2, query=3, seed=7)[index]
    assert task.index == index
    assert task.support_inputs.dtype == task.query_targets.dtype == np.float32
    assert task.support_inputs[:, 0].tolist() == inputs[:2]
    assert task.query_inputs[:, 0].tolist() == inputs[2:]
    np.testing.assert_allclose(task.support_targets[:, 0], targets[:2], rtol=1.2e-7)
    np.testing.assert_allclose(task.query_targets[:, 0], targets[2:], rtol=1.2e-7)


def test_a_noisy_task_takes_its_function_from_the_shared_ones() -> None:
    family = FAMILIES["sinusoid-480"]
    points_key = key_by_hand(family.canonical(), "points", "train", 1, shot=1, query=1)
    words = words_by_hand(points_key, 5, 7)
    function = words[0] * 480 >> 64
    functions_key = key_by_hand(family.canonical(), "functions", "train", 1)
    drawn = words_by_hand(functions_key, function, 4)
    amplitude, frequency = 0.1 + 4.9 * unit(drawn[0]), 0.5 + 1.5 * unit(drawn[1])
    x = float(np.float32(-5 + 10 * unit(words[4])))
    y = amplitude * math.sin(frequency * x) + 2 * math.pi * unit(drawn[3])

    task = tasks.stream("sinusoid-480", "train", shot=1, query=1)[5]
    assert task.query_inputs[0, 0] == x
    assert task.query_targets[0, 0] == pytest.approx(y + 0.3 * normal(*words[5:7]), rel=1e-6)


def test_a_harmonic_task_is_what_plain_python_makes_of_the_words() -> None:
    family = FAMILIES["harmonic"]
    drawn = words_by_hand(key_by_hand(family.canonical(), "functions", "val", 1), FAR, 8)
    first, second = normal(*drawn[:2]), normal(*drawn[2:4])
    b1, b2, angle = (unit(drawn[4]) * 2 * math.pi, unit(drawn[5]) * 2 * math.pi, unit(drawn[6]))
    points_key = key_by_hand(family.canonical(), "points", "val", 1, shot=1, query=1)
    words = words_by_hand(points_key, FAR, 5)
    x = -4 + 8 * unit(drawn[7]) + normal(*words[1:3])

    task = tasks.stream("harmonic", "val", shot=1, query=1)[FAR]
    x32 = float(task.support_inputs[0, 0])
    assert x32 == pytest.approx(x, rel=1e-7)
    turn = (5 + 2 * angle) * x32
    y = first * math.sin(turn + b1) + second * math.sin(2 * turn + b2)
    assert task.support_targets[0, 0] == pytest.approx(y, rel=1e-6)


def test_a_line_is_what_plain_python_makes_of_the_words() -> None:
    family = FAMILIES["sinusoid-line"]
    key = key_by_hand(family.canonical(), "functions", "train", 1)
    drawn = [words_by_hand(key, index, 7) for index in range(12)]
    stream = tasks.stream("sinusoid-line", shot=1, query=1)
    kinds = set()
    for index, words in enumerate(drawn):
        task = stream[index]
        x, u = float(task.query_inputs[0, 0]), [unit(word) for word in words]
        is_wave = u[6] < 0.5
        wave = (0.1 + 4.9 * u[0]) * math.sin(x - math.pi * (1 - u[2]))
        y = wave if is_wave else (-3 + 6 * u[4]) * x + (-3 + 6 * u[5])
        assert task.query_targets[0, 0] == pytest.approx(y, rel=1e-5, abs=1e-6)
        kinds.add(is_wave)
    assert kinds == {True, False}


@pytest.mark.parametrize("name", FAMILIES)
def test_the_tasks_never_change(name: str) -> None:
    assert tasks.stream(name, shot=5, query=10, seed=1).fingerprint(20) == GOLDEN[name]


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted(FAMILIES)),
    split=st.sampled_from(["train", "val", "test"]),
    start=st.integers(0, 2**62),
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=4),
)
def test_tasks_do_not_depend_on_start_and_batch(
    name: str, split: str, start: int, sizes: list[int]
) -> None:
    stream = tasks.stream(name, split, shot=2, query=3)
    whole = stream.batch(start, sum(sizes))
    assert whole.index.tolist() == list(range(start, start + sum(sizes)))
    assert np.isfinite(flat(whole)).all()
    done = 0
    for size in sizes:
        part = stream.batch(start + done, size)
        for name in ARRAYS:
            there = getattr(whole, name)[done : done + size]
            np.testing.assert_array_equal(getattr(part, name), there, strict=True)
        done += size


def test_batches_are_the_batch_of_each_place_and_end_before_stop() -> None:
    stream = tasks.stream("sinusoid")
    batches = list(stream.batches(4, 3, 13))
    assert [len(batch) for batch in batches] == [4, 4, 2]
    for batch, start in zip(batches, (3, 7, 11), strict=True):
        assert_same(batch, stream.batch(start, len(batch)))
    endless = stream.batches(2)
    assert [next(endless).index.tolist() for _ in range(2)] == [[0, 1], [2, 3]]


def test_a_task_of_a_batch_is_the_task_of_the_stream() -> None:
    stream = tasks.stream("harmonic", shot=3, query=4)
    batch = stream.batch(10, 3)
    assert batch.support_inputs.shape == (3, 3, 1) and batch.query_targets.shape == (3, 4, 1)
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(batch[2], name), getattr(stream[12], name))


def test_shots_meet_the_same_functions_at_other_points() -> None:
    few, many = (tasks.stream("sinusoid", "test", shot=shot, query=2) for shot in (5, 20))
    np.testing.assert_array_equal(few.functions(9, 4), many.functions(9, 4))
    assert not np.isin(few.batch(9, 4).query_inputs, many.batch(9, 4).query_inputs).any()


def test_whatever_identifies_a_stream_changes_its_tasks() -> None:
    wider = Sinusoid(domain=(-6, 6))
    streams = [
        tasks.stream("sinusoid"),
        tasks.stream("sinusoid", seed=2),
        tasks.stream("sinusoid", "val"),
        tasks.stream("sinusoid", "test"),
        tasks.stream("sinusoid", shot=4, query=11),
        tasks.stream("sinusoid-frequency"),
        tasks.stream(wider),
    ]
    firsts = [flat(stream.batch(0, 2)) for stream in streams]
    assert len({first.tobytes() for first in firsts}) == len(streams)
    assert len({stream.fingerprint(2) for stream in streams}) == len(streams)
    assert streams[0].fingerprint(2) != streams[0].fingerprint(3)


def test_a_stream_survives_pickling() -> None:
    stream = tasks.stream("sinusoid-480")
    before = stream.batch(0, 4)
    assert_same(pickle.loads(pickle.dumps(stream)).batch(0, 4), before)


def test_whole_numbers_and_floats_are_the_same_settings() -> None:
    assert Sinusoid(domain=(-5, 5), noise=0) == FAMILIES["sinusoid"]
    assert Sinusoid(domain=(-5, 5), noise=0).canonical() == FAMILIES["sinusoid"].canonical()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"family": "sinusiod"}, "did you mean 'sinusoid'"),
        ({"split": "tset"}, "did you mean 'test'"),
        ({"shot": 0}, "shot is 0"),
        ({"query": 1.5}, "query is 1.5"),
        ({"seed": True}, "seed is True"),
    ],
)
def test_a_stream_that_cannot_be_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        tasks.stream(**{"family": "sinusoid", **arguments})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"noise": -1}, "noise is -1"),
        ({"noise": math.nan}, "noise is nan"),
        ({"functions": 0}, "functions is 0"),
        ({"amplitude": (5, 1)}, "amplitude is .5, 1."),
        ({"slope": (0, math.inf)}, "slope is"),
        ({"phase": 1}, "phase is 1; expected two finite numbers"),
    ],
)
def test_settings_that_cannot_be_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        SinusoidLine(**arguments)


def test_places_that_are_none_are_refused() -> None:
    stream = tasks.stream("sinusoid")
    for start, size in ((-1, 2), (0, -1), (2**63 - 2, 2)):
        with pytest.raises(UsageError, match="indices are 0 to"):
            stream.batch(start, size)
    with pytest.raises(UsageError, match="size is 0"):
        stream.batches(0)


def test_elementary_functions_are_those_of_the_c_library() -> None:
    x = np.linspace(-1e6, 1e6, 20_001)
    np.testing.assert_allclose(sine(x), [math.sin(value) for value in x], rtol=0, atol=1e-15)
    u = np.concatenate([np.geomspace(2.0**-53, 2, 10_000), 1 - np.arange(1, 9) * 2.0**-53, [1.0]])
    np.testing.assert_allclose(logarithm(u), [math.log(value) for value in u], rtol=1e-15)


def test_extreme_words_make_finite_numbers() -> None:
    draws = uniforms(np.array([0, 2**64 - 1, 2**11 - 1, 2**11], np.uint64))
    assert draws.tolist() == [0, 1 - 2.0**-53, 0, 2.0**-53]
    corners = np.array([[0, 0.25], [1 - 2.0**-53, 0.25], [1 - 2.0**-53, 0.75]])
    largest = math.sqrt(106 * math.log(2))
    np.testing.assert_allclose(normals(corners), [0, largest, -largest], atol=1e-14)


def test_importing_the_tasks_loads_neither_torch_nor_pyarrow() -> None:
    code = "import sys, trainers.tasks; sys.exit(bool({'torch', 'pyarrow'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
