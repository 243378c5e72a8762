"""`torchrun -m trainers run`: real processes that talk by Gloo."""

import json
import os
import subprocess
import sys
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


@pytest.mark.slow
def test_tasks_that_cannot_be_shared_out_are_refused(grey: Path, tmp_path: Path) -> None:
    flags = ("--dataset", str(grey), *TINY, "--meta-batch-size", "3", "--out", "run")
    refused = run(tmp_path, 2, *flags)
    assert refused.returncode != 0
    assert "error: 3 tasks cannot be shared out evenly among 2 ranks" in refused.stderr
    assert not (tmp_path / "run").exists()
