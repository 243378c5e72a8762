"""The run directory: places, the lock, the log of metrics, and disks that refuse."""

import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from episodes.errors import EpisodesError, UsageError
from trainers import run_directory
from trainers.files import write_whole
from trainers.run_directory import MetricsLog, RunDirectory, locked, read_metrics


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """As on a full disk, no file may grow beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_default_name_that_is_taken_is_numbered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    paths = [run_directory.create(None, "name").path for _ in range(3)]
    assert paths == [Path("runs/name"), Path("runs/name-2"), Path("runs/name-3")]


def test_a_folder_with_other_files_or_a_run_is_refused(tmp_path: Path) -> None:
    run = run_directory.create(tmp_path, "unused")
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UsageError, match=r"holds other files \(notes.txt\)"):
        run.begin("")
    assert not run.config.exists()
    (tmp_path / "notes.txt").unlink()
    (tmp_path / "config.toml.tmp").touch()
    with locked(run):
        run.begin("way = 5\n")
        assert run.config.read_text() == "way = 5\n"
        with pytest.raises(UsageError, match=r"holds a run: .*--resume"):
            run.begin("")


def test_a_file_in_the_way_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EpisodesError, match="cannot write .*file/run: Not a directory"):
        run_directory.create(tmp_path / "file" / "run", "unused")


def test_what_is_no_run_is_not_found(tmp_path: Path) -> None:
    for path, found in ((tmp_path / "none", "no such directory"), (tmp_path, "holds no run")):
        with pytest.raises(UsageError, match=f"{found}.*make one with `trainers run --out DIR`"):
            run_directory.find(path)


def test_the_lock_keeps_another_process_out(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from trainers.run_directory import *\n"
        "with locked(RunDirectory(Path(sys.argv[1]))): print('in', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"in\n"
        with (
            pytest.raises(EpisodesError, match="in use by another process"),
            locked(RunDirectory(tmp_path)),
        ):
            pass
        holder.kill()
    with locked(RunDirectory(tmp_path)):
        pass


def test_metrics_are_cut_to_the_length_of_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    validation = {"validation_mse": 0.75, "validation_interval": 0.5}
    with closing(MetricsLog(path, 0)) as log:
        log.append(iteration=1, loss=0.5)
        size = log.sync()
        log.append(iteration=2, loss=0.1)
    with closing(MetricsLog(path, size)) as log:
        assert log.sync() == size
        log.append(iteration=2, loss=0.25)
        log.append(iteration=2, **validation)
    iterations, validations = read_metrics(path)
    assert iterations == [{"iteration": 1, "loss": 0.5}, {"iteration": 2, "loss": 0.25}]
    assert validations == [{"iteration": 2, **validation}]
    with pytest.raises(EpisodesError, match=r"metrics.jsonl has \d+ bytes.* after 1000"):
        MetricsLog(path, 1000)


def test_damaged_files_are_told_in_one_line(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.metrics.write_text('{"iteration": 1}\n{"itera')
    run.results.write_text("{")
    with pytest.raises(EpisodesError, match="metrics.jsonl is damaged"):
        read_metrics(run.metrics)
    with pytest.raises(EpisodesError, match="results.json is damaged .*: remove it and resume"):
        run.read_results()


def test_only_the_last_and_the_best_checkpoints_stay(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.checkpoints.mkdir()
    paths = [run.last_checkpoint, *map(run.best_checkpoint, (5, 10, 15))]
    for path in paths:
        path.touch()
    (run.checkpoints / "last.safetensors.tmp").touch()
    run.prune_checkpoints([15, 5])
    assert set(run.checkpoints.iterdir()) == {paths[0], paths[1], paths[3]}


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    write_whole(path, b"old")
    with largest_file(1000), pytest.raises(EpisodesError, match="cannot write .*last.safetensors"):
        write_whole(path, b"new" * 1000)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_stops_the_log_with_its_name(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl", 0)
    with largest_file(10), pytest.raises(EpisodesError, match=r"cannot write .*metrics\.jsonl"):
        log.append(text="x" * 100_000)
        log.sync()
