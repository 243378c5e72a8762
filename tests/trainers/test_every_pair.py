"""Every allowed pair of algorithm and rate scheme trains on glyphs, and goes on after a stop."""

import json
from pathlib import Path

import pytest
import torch

from tests.trainers.stopping import StopAfter
from trainers import catalog, config
from trainers.checkpoint import load
from trainers.interrupt import Interrupted
from trainers.outer_state import OuterState
from trainers.run import Run
from trainers.run_directory import RunDirectory, locked
from trainers.sources import Source, open_source
from trainers.training import Training

PAIRS = [
    pytest.param(algorithm.name, scheme, id=f"{algorithm.name}-{scheme}")
    for algorithm in catalog.ALGORITHMS.values()
    for scheme in (algorithm.rates or [name for name in catalog.RATE_SCHEMES if name != "none"])
]


@pytest.fixture(scope="module")
def glyphs() -> Source:
    return open_source("glyphs")


def settings(algo: str, lr: str, iterations: int) -> config.RunConfig:
    given = {
        "algo": algo,
        "lr": lr,
        "filters": 8,
        "query": 1,
        "train_shot": 1,
        "train_query": 1,
        "meta_batch_size": 2,
        "iterations": iterations,
        "val_episodes": 1,
    }
    if catalog.ALGORITHMS[algo].rates != ("none",):
        given |= {"steps": 2, "eval_steps": 2}
    return config.complete(given, {"split": "alphabets", "threads": 1})


def train(source: Source, chosen: config.RunConfig, path: Path, stop: int | None = None) -> Path:
    run = Run.over(source, chosen)
    path.mkdir(exist_ok=True)
    directory = RunDirectory(path)
    state = OuterState(chosen, run.learner)
    if directory.last_checkpoint.exists():
        state.load(directory.last_checkpoint, "")
    with locked(directory):
        Training(directory, state, run.learner, run.streams, StopAfter(stop)).train()
    return directory.last_checkpoint


@pytest.mark.parametrize(("algo", "lr"), PAIRS)
def test_two_iterations_and_one_after_a_stop_are_the_same(
    algo: str, lr: str, glyphs: Source, tmp_path: Path
) -> None:
    chosen = settings(algo, lr, iterations=2)
    whole, _ = load(train(glyphs, chosen, tmp_path / "whole"), "")
    with pytest.raises(Interrupted):
        train(glyphs, chosen, tmp_path / "stopped", stop=1)
    resumed, _ = load(train(glyphs, chosen, tmp_path / "stopped"), "")
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in whole.items())
    first, second = ((tmp_path / name / "metrics.jsonl") for name in ("whole", "stopped"))
    assert first.read_text() == second.read_text()


@pytest.mark.slow
@pytest.mark.parametrize(("algo", "lr"), PAIRS)
def test_twenty_iterations_stay_finite(algo: str, lr: str, glyphs: Source, tmp_path: Path) -> None:
    last = train(glyphs, settings(algo, lr, iterations=20), tmp_path / "run")
    tensors, _ = load(last, "")
    assert all(tensor.isfinite().all() for tensor in tensors.values())
    records = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").open()]
    assert sum("rates" in record for record in records) == 20
