"""`torchrun -m trainers run`: real processes that talk by Gloo."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

TINY = (
    *("--filters", "4", "--query", "2", "--way", "3", "--steps", "2", "--eval-steps", "2"),
    *("--meta-batch-size", "4", "--iterations", "6", "--validate-every", "3"),
    *("--val-episodes", "9", "--episodes", "13", "--threads", "1"),
)
LEARNING = ("--sampler", "adaptive", "--sampler-lr", "0.05", "--regularizer", "trlearner")


def run(folder: Path, ranks: int, *flags: str) -> subprocess.CompletedProcess[str]:
    """`trainers run` in one process, or in several."""
    several = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks))
    launcher = several if ranks > 1 else ()
    return subprocess.run(
        [sys.executable, *launcher, "-m", "trainers", "run", *flags],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )


def losses(path: Path) -> np.ndarray:
    records = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    return np.array([record["loss"] for record in records if "loss" in record])


@pytest.mark.slow
def test_two_ranks_are_one_run_and_resume(grey: Path, tmp_path: Path) -> None:
    flags = ("--dataset", str(grey), *TINY, *LEARNING)
    alone = run(tmp_path, 1, *flags, "--out", "alone")
    shared = run(tmp_path, 2, *flags, "--out", "shared")
    assert alone.returncode == shared.returncode == 0, shared.stderr
    assert shared.stdout.count("test accuracy") == 1  # The first rank speaks.
    assert losses(tmp_path / "shared") == pytest.approx(losses(tmp_path / "alone"), rel=1e-5)
    expected, found = (
        json.loads((tmp_path / name / "test_figures.json").read_text())
        for name in ("alone", "shared")
    )
    assert found == expected
    one, other = (
        load_file(tmp_path / name / "checkpoints" / "last.safetensors")
        for name in ("alone", "shared")
    )
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        # A bias before batch norm has no gradient, and Adam makes steps of its rounding errors.
        if name.startswith("params/") and not name.endswith("conv.bias"):
            assert np.allclose(tensor, other[name], rtol=1e-3, atol=1e-4), name

    # As if the run had been killed before the test.
    for name in ("results.json", "test_figures.json"):
        (tmp_path / "shared" / name).unlink()
    resumed = run(tmp_path, 2, "--resume", "shared")
    assert resumed.returncode == 0, resumed.stderr
    again = json.loads((tmp_path / "shared" / "test_figures.json").read_text())
    assert again == expected


def children(parent: int) -> list[int]:
    """The processes that a process started, those of Linux."""
    stats = [path.read_text().rsplit(")", 1) for path in Path("/proc").glob("[0-9]*/stat")]
    return [int(name.split(" ", 1)[0]) for name, rest in stats if int(rest.split()[1]) == parent]


@pytest.mark.slow
def test_a_run_whose_rank_is_killed_is_restarted_to_the_same_numbers(
    grey: Path, tmp_path: Path
) -> None:
    flags = ("--dataset", str(grey), *TINY, "--algo", "maml", "--iterations", "60")
    whole = run(tmp_path, 2, *flags, "--out", "whole")
    assert whole.returncode == 0, whole.stderr
    metrics = tmp_path / "killed" / "metrics.jsonl"
    launcher = subprocess.Popen(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", "2", "--max-restarts", "1", "-m", "trainers", "run"),
            *(*flags, "--out", "killed"),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while not (metrics.exists() and metrics.read_bytes().count(b"\n") > 9):
            assert launcher.poll() is None, launcher.communicate()
            time.sleep(0.01)
        os.kill(children(launcher.pid)[-1], signal.SIGKILL)
        _, told = launcher.communicate(timeout=120)
    finally:
        launcher.terminate()  # It ends its ranks, where they wait for each other.

    assert launcher.returncode == 0, told
    assert "continues after iteration" in told
    for name in ("metrics.jsonl", "test_figures.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.slow
def test_tasks_that_cannot_be_shared_out_are_refused(grey: Path, tmp_path: Path) -> None:
    flags = ("--dataset", str(grey), *TINY, "--meta-batch-size", "3", "--out", "run")
    refused = run(tmp_path, 2, *flags)
    assert refused.returncode != 0
    assert "error: 3 tasks cannot be shared out evenly among 2 ranks" in refused.stderr
    assert not (tmp_path / "run").exists()
