"""Grids of runs: cells checked before they run, run, killed, interrupted, and taken up again."""

import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from episodes.errors import EpisodesError, UsageError
from tests.trainers.grid_cells import (
    TINY,
    InThisProcess,
    iterations,
    kill_once_it_trains,
    wait_until_it_trains,
)
from trainers.grids.cell import Cell, Ended
from trainers.grids.grid import finish
from trainers.grids.local import Local
from trainers.grids.planning import planned

needs_proc = pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds processes by /proc")


def test_a_cell_s_flags_are_what_one_types() -> None:
    settings = {"inner_lr": 1e-05, "compile": True, "adapt_bn": False, "hidden": "40,40"}
    cell = Cell("x", settings)
    assert cell.flags == (
        *("--inner-lr", "1e-05", "--compile", "--no-adapt-bn", "--hidden", "40,40"),
    )
    assert Cell("x", {"dataset": "my file"}).command == "trainers run --dataset 'my file'"


@pytest.mark.parametrize("name", ["", "a/b", "..", "a/"])
def test_a_cell_s_name_is_one_directory(name: str) -> None:
    with pytest.raises(UsageError, match="cannot be a directory"):
        Cell(name, {})


def test_a_cell_is_finished_once_and_then_kept(tmp_path: Path) -> None:
    cell, said = Cell("good", TINY), list[str]()
    assert finish([cell], tmp_path, InThisProcess(), said.append) == {}
    assert re.match(r"1/1 good: test mse \d", said[0])
    assert cell.log(tmp_path).read_text().startswith("$ trainers run --dataset sinusoid ")
    written = cell.directory(tmp_path).results.stat().st_mtime_ns
    assert finish([cell], tmp_path, InThisProcess(), said.append) == {}
    assert said[1:] == ["1 of 1 cells are finished already"]
    assert cell.directory(tmp_path).results.stat().st_mtime_ns == written


def test_a_cell_that_fails_is_told_and_does_not_stop_the_others(tmp_path: Path) -> None:
    cells = [Cell("bad", {**TINY, "inner_lr": 1e30}), Cell("good", TINY)]
    failures = finish(cells, tmp_path, InThisProcess(), print)
    assert failures.keys() == {"bad"} and "the loss is nan" in failures["bad"]
    assert not failures["bad"].startswith("error")
    assert cells[1].directory(tmp_path).results.exists()


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"inner_lr": -1.0}, "second: --inner-lr -1.0: expected at least 0"),
        ({"weight_decay": 0.1}, "second: --weight-decay 0.1 has no use here"),
        ({"way": 3}, "second: .*way"),
        ({"dataset": "glyfs"}, "second: unknown dataset 'glyfs'.* did you mean 'glyphs'"),
    ],
)
def test_all_cells_are_checked_before_the_first_runs(second, message: str, tmp_path: Path) -> None:
    cells = [Cell("first", TINY), Cell("second", {**TINY, **second})]
    with pytest.raises(EpisodesError, match=message):
        finish(cells, tmp_path / "grid", InThisProcess(), print)
    assert not (tmp_path / "grid").exists()


def test_two_cells_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="two cells are called twin"):
        planned([Cell("twin", TINY), Cell("twin", {})], tmp_path, threads=1)


def test_a_directory_with_other_settings_is_refused(tmp_path: Path) -> None:
    finish([Cell("cell", {**TINY, "grad_clip": 10.0})], tmp_path, InThisProcess(), print)
    with pytest.raises(UsageError, match=r"cell: .* found --iterations 3 \(recorded: --iterat"):
        planned([Cell("cell", {**TINY, "grad_clip": 10.0, "iterations": 3})], tmp_path, 1)
    with pytest.raises(UsageError, match=r"found no --grad-clip \(recorded: --grad-clip 10.0\)"):
        planned([Cell("cell", TINY)], tmp_path, 1)


def test_a_begun_cell_keeps_its_threads(tmp_path: Path) -> None:
    cell = Cell("cell", {name: value for name, value in TINY.items() if name != "threads"})
    [fresh] = planned([cell], tmp_path, threads=7)
    assert fresh.settings["threads"] == 7 and fresh.settings["device"] == "cpu"
    finish([cell], tmp_path, InThisProcess(), print)
    [begun] = planned([cell], tmp_path, threads=7)
    assert begun.settings["threads"] == 1


def test_a_directory_in_use_is_a_failure_of_its_cell(tmp_path: Path) -> None:
    from trainers.run_directory import create, locked

    with locked(create(tmp_path / "cell", "")):
        failures = finish([Cell("cell", TINY)], tmp_path, InThisProcess(), print)
    assert "is in use by another process" in failures["cell"]
    # The lock's file is still there, as after a kill, and keeps nobody out.
    assert (tmp_path / "cell" / "lock").exists()
    assert finish([Cell("cell", TINY)], tmp_path, InThisProcess(), print) == {}


@needs_proc
def test_a_killed_process_is_told_and_its_cell_goes_on(tmp_path: Path) -> None:
    cell = Cell("cell", {**TINY, "iterations": 60, "validate_every": 10})
    directory = cell.directory(tmp_path).path
    with ThreadPoolExecutor() as pool:
        killed = pool.submit(kill_once_it_trains, directory)
        failures = finish([cell], tmp_path, Local(), print)
        killed.result(timeout=0)
    assert failures == {"cell": "killed by signal 9"}
    assert finish([cell], tmp_path, Local(), print) == {}
    told = re.search(r"continues after iteration (\d+)", cell.log(tmp_path).read_text())
    assert told and int(told.group(1)) >= 10
    assert iterations(directory) == list(range(1, 61))


@pytest.mark.slow
def test_processes_share_the_cores_and_end_with_the_engine(tmp_path: Path) -> None:
    long = {**TINY, "iterations": 100_000, "validate_every": 10}
    cells = [Cell("short", TINY), Cell("first", long), Cell("second", long)]
    ready = planned(cells, tmp_path, threads=1)
    running = Local(jobs=2).run(ready, tmp_path, print)
    assert next(running) == Ended(ready[0], None)
    wait_until_it_trains(tmp_path / "first")
    assert not (tmp_path / "second").exists()  # Two at a time, and nobody asked for more.
    running.close()
    last = cells[1].last_line(tmp_path)
    assert re.match(r"interrupted at iteration \d+: continue with `trainers run --resume", last)


@pytest.mark.slow
@pytest.mark.parametrize("asked", [signal.SIGINT, signal.SIGTERM])
def test_a_sweep_that_is_interrupted_continues(asked: signal.Signals, tmp_path: Path) -> None:
    flags = Cell("x", {**TINY, "validate_every": 10}).flags
    sweep = (sys.executable, "-m", "trainers", "sweep", *flags, "--iterations", "500")
    sweep = (*sweep, "--vary", "shot=5,6", "--out", str(tmp_path))
    begun = subprocess.Popen(sweep, stderr=subprocess.PIPE, text=True)
    directory = tmp_path / "shot=5,seed=1"
    wait_until_it_trains(directory)
    begun.send_signal(asked)
    _, said = begun.communicate()
    assert begun.returncode == 130 and "interrupted: 0 of 2 cells are finished" in said
    assert not (tmp_path / "sweep.json").exists()
    again = subprocess.run(sweep, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert "continues after iteration" in (tmp_path / "shot=5,seed=1.log").read_text()
    assert iterations(directory) == list(range(1, 501))
    assert (tmp_path / "sweep.json").exists()
