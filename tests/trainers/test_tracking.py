"""What a tracker is told of a run: all that metrics.jsonl has, each step once."""

import json
import sqlite3
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import Result

from tests.trainers.stopping import StopAfter
from trainers import lifecycle, tracking
from trainers.cli import run as run_command
from trainers.config import RunConfig
from trainers.group import Group
from trainers.interrupt import Interrupted
from trainers.run_directory import RunDirectory
from trainers.tracking.tracker import figures_of

TINY = {"filters": 4, "query": 2, "meta_batch_size": 2, "episodes": 4, "val_episodes": 2}
FULL, LAST = 1, 4
"""Kinds of parts of LevelDB's log that end a record."""
TRAINING = {"iterations": 6, "validate_every": 2, "threads": 1}

STOPPED = """
import json, pathlib, sys
from tests.trainers.stopping import StopAfter
from trainers import lifecycle, tracking
from trainers.group import Group
from trainers.interrupt import Interrupted

out, tool, given = sys.argv[1:]
opener = tracking.opener(tool)
try:
    lifecycle.begin(json.loads(given), None, pathlib.Path(out), StopAfter(3), Group(), opener)
except Interrupted:
    sys.exit(0)
sys.exit("was not interrupted")
"""


class Recording:
    """A tracker that remembers what it was told."""

    def __init__(self) -> None:
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.flushed = 0
        self.finished: list[dict[str, float]] = []

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        self.logged.append((step, dict(figures)))

    def flush(self) -> None:
        self.flushed = len(self.logged)

    def finish(self, figures: Mapping[str, float]) -> None:
        self.finished.append(dict(figures))


def expected(run: Path) -> list[tuple[int, str, float]]:
    """(step, name, figure) of what a finished run must have told, read from its files."""
    rows = []
    for line in (run / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        step = record["iteration"]
        if "loss" in record:
            rows += [(step, f"training/{n}", record[n]) for n in ("loss", "accuracy", "outer_rate")]
            rows += [(step, f"rates/{1 + j}", rate) for j, rate in enumerate(record["rates"])]
        else:
            rows.append((step, "validation/accuracy", record["validation_accuracy"]))
            rows.append((step, "validation/interval", record["validation_interval"]))
    return rows


def of_test(run: Path) -> dict[str, float]:
    test = json.loads((run / "results.json").read_text())["test"]
    return {f"test/{name}": test[name] for name in ("accuracy", "interval", "median")}


def test_a_stopped_run_tells_each_step_once(grey: Path, tmp_path: Path) -> None:
    out, trackers = tmp_path / "run", []

    def open_tracker(directory: RunDirectory, config: RunConfig) -> Recording:
        assert directory.path == out and config.iterations == 6
        trackers.append(Recording())
        return trackers[-1]

    given = {"dataset": str(grey), "algo": "maml", "lr": "fixed", **TINY, **TRAINING}
    with pytest.raises(Interrupted):
        lifecycle.begin(given, None, out, StopAfter(3), Group(), open_tracker)
    first = trackers[0]
    assert [step for step, _ in first.logged] == [1, 2, 2, 3]
    assert first.flushed == len(first.logged) and not first.finished
    lifecycle.resume(out, {}, StopAfter(None), Group(), open_tracker)
    lifecycle.resume(out, {}, StopAfter(None), Group(), open_tracker)
    for tracker in trackers[1:]:
        told = [
            (step, name, value) for step, all_ in tracker.logged for name, value in all_.items()
        ]
        assert sorted(told) == sorted(expected(out))
        assert tracker.finished == [of_test(out)]
    assert len(trackers) == 3


def test_figures_of_a_line_by_hand() -> None:
    record = {
        "iteration": 7,
        "loss": 0.5,
        "rates": [0.1, 0.2],
        "branches": None,
        "task_weights": [1.0, 2.0],
    }
    assert figures_of(record) == {"training/loss": 0.5, "rates/1": 0.1, "rates/2": 0.2}
    assert figures_of({"iteration": 7, "skipped": "the loss is nan"}) == {}
    assert figures_of({"iteration": 8, "validation_mse": 3.0}) == {"validation/mse": 3.0}


def test_a_missing_package_is_told_before_anything_is_made(
    train: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = replace(tracking.TOOLS["wandb"], package="a_package_that_is_not_there")
    monkeypatch.setitem(tracking.TOOLS, "wandb", absent)
    result = train("--track", "wandb", "--out", "run")
    assert result.exit_code == 2
    assert result.output == (
        "error: --track wandb needs the package a_package_that_is_not_there: pip install 'wandb'\n"
    )
    assert not Path("run").exists()


def test_the_command_line_knows_the_tools() -> None:
    [option] = [option for option in run_command.params if option.name == "track"]
    assert list(option.type.choices) == list(tracking.TOOLS)


@pytest.mark.adapters
@pytest.mark.parametrize("tool", ["tensorboard", "wandb", "mlflow"])
def test_a_tool_keeps_each_step_once(tool: str, grey: Path, tmp_path: Path) -> None:
    pytest.importorskip(tool)
    out = tmp_path / "run"
    given = {"dataset": str(grey), "algo": "maml", "lr": "fixed", **TINY, **TRAINING}
    stopped = [sys.executable, "-c", STOPPED, out, tool, json.dumps(given)]
    subprocess.run(stopped, check=True, cwd=Path(__file__).parents[2])
    resume = [sys.executable, "-m", "trainers", "run", "--resume", out, "--track", tool]
    subprocess.run(resume, check=True)
    read = {"tensorboard": of_tensorboard, "wandb": of_wandb, "mlflow": of_mlflow}[tool]
    kept = read(out / tool)
    told = [*expected(out), *((6, name, figure) for name, figure in of_test(out).items())]
    assert Counter((step, name) for step, name, _ in kept) == Counter(row[:2] for row in told)
    in_order = dict(zip(((s, n) for s, n, _ in told), (v for _, _, v in told), strict=True))
    for step, name, value in kept:
        assert value == pytest.approx(in_order[step, name], rel=1e-6)


def of_tensorboard(folder: Path) -> list[tuple[int, str, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    names = events.Tags()["scalars"]
    return [(event.step, name, event.value) for name in names for event in events.Scalars(name)]


def of_mlflow(folder: Path) -> list[tuple[int, str, float]]:
    with closing(sqlite3.connect(folder / "mlflow.db")) as store:
        assert store.execute("SELECT status FROM runs").fetchall() == [("FINISHED",)]
        algo = store.execute("SELECT value FROM params WHERE key = 'algo'").fetchall()
        assert algo == [("maml",)]
        return store.execute("SELECT step, key, value FROM metrics").fetchall()


def of_wandb(folder: Path) -> list[tuple[int, str, float]]:
    from wandb.proto.wandb_internal_pb2 import Record

    [file] = folder.rglob("*.wandb")
    rows = []
    for data in of_log_blocks(file.read_bytes()):
        items = {
            "".join(item.nested_key) or item.key: json.loads(item.value_json)
            for item in Record.FromString(data).history.item
        }
        rows += [(items["_step"], n, value) for n, value in items.items() if not n.startswith("_")]
    return rows


def of_log_blocks(data: bytes, header: int = 7, block: int = 32768) -> Iterator[bytes]:
    """The records of a file of LevelDB's log format, behind a header of as many bytes."""
    place, parts = header, b""
    while place + header <= len(data):
        if block - place % block < header:
            place += block - place % block
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        parts += data[place + header : place + header + length]
        place += header + length
        if kind in (FULL, LAST):
            yield parts
            parts = b""
