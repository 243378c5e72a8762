"""Runs on episodes of variable way and shot, from one store or several."""

import json
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

import episodes
from episodes.errors import UsageError
from episodes.sampling import VariableSpec
from episodes.variable_stream import VariableStream
from trainers.config import Settings, complete

PROTO_MAML = ("--algo", "proto-maml", "--lr", "alfa", "--first-order", "--steps", 2)


@pytest.fixture
def train(command: Callable[..., Result], grey: Path, colour: Path) -> Callable[..., Result]:
    tiny = ("--filters", 4, "--meta-batch-size", 2, "--episodes", 5, "--iterations", 2)
    small = ("--val-episodes", 3, "--threads", 1)
    both = ("--dataset", f"{grey},{colour}", "--sampler", "meta-dataset")
    return lambda *flags: command("run", *both, *tiny, *small, *flags)


def results(run: str) -> dict:
    return json.loads(Path(run, "results.json").read_text())


def test_a_run_on_two_stores_and_its_evaluation_on_one(
    train: Callable[..., Result], command: Callable[..., Result], grey: Path, colour: Path
) -> None:
    result = train(*PROTO_MAML)
    assert result.exit_code == 0, result.output
    run = "runs/grey+colour-variable-proto-maml-alfa-seed1"
    assert "grey+colour quarters.test (variable way and shot, bn support)" in result.stdout
    test = results(run)["test"]
    stores = [episodes.open(grey), episodes.open(colour)]
    stream = VariableStream(stores, "quarters.test", VariableSpec(), seed=0)
    assert test["fingerprint"] == stream.fingerprint(5)
    assert test["way"] is None and test["shot"] is None
    recorded = tomllib.loads(Path(run, "config.toml").read_text())
    assert "way" not in recorded and recorded["sampler"] == "meta-dataset"

    other = ("--dataset", colour, "--split", "quarters.train")
    evaluated = command("eval", run, *other, "--allow-overlap", "--json")
    assert evaluated.exit_code == 0, evaluated.output
    found = json.loads(evaluated.stdout)
    assert found["test"]["dataset"] == "colour" and found["overlap"]["classes"] == 12


def test_tasks_at_once_learn_as_one_after_the_other(train: Callable[..., Result]) -> None:
    for how in ("loop", "batched"):
        result = train(*PROTO_MAML, "--task-batching", how, "--out", how)
        assert result.exit_code == 0, result.output
    loop, batched = (
        [json.loads(line) for line in Path(run, "metrics.jsonl").read_text().splitlines()]
        for run in ("loop", "batched")
    )
    assert len(loop) == len(batched) > 2
    for one, other in zip(loop, batched, strict=True):
        assert one.get("loss") == pytest.approx(other.get("loss"), abs=1e-4)
        assert one.get("accuracy") == pytest.approx(other.get("accuracy"), abs=0.02)
    figures = [results(run)["test"]["accuracy"] for run in ("loop", "batched")]
    assert figures[0] == pytest.approx(figures[1], abs=0.02)


def test_a_finished_part_is_not_done_again(
    train: Callable[..., Result], command: Callable[..., Result]
) -> None:
    assert train("--algo", "protonet", "--out", "whole").exit_code == 0
    assert train("--algo", "protonet", "--out", "part").exit_code == 0
    Path("part/results.json").unlink()
    assert command("run", "--resume", "part").exit_code == 0
    assert results("part")["test"] == results("whole")["test"]


def test_way_and_shot_may_be_fixed(train: Callable[..., Result]) -> None:
    result = train(*PROTO_MAML, "--way", 5, "--shot", 1, "--query", 2, "--out", "fixed")
    assert result.exit_code == 0, result.output
    assert "(5-way 1-shot, bn support)" in result.stdout


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"algo": "maml"},
            "of its own, and under maml the head is learned.*--head-init zero",
        ),
        (
            {"algo": "proto-maml", "lr": "meta-sgd"},
            "of its own, and meta-sgd learns of each of the head's.*--head-rates shared",
        ),
        ({"algo": "t-net"}, "the head is learned, one output a class: use proto-maml"),
        ({"dataset": "sinusoid"}, "meta-dataset draws classes, sinusoid has none"),
        ({"algo": "protonet", "random_shots": True}, "--random-shots needs episodes of one shape"),
        ({"sampler": "uniform", "dataset": "a,b"}, "several datasets need --sampler meta-dataset"),
    ],
)
def test_what_makes_no_sense_is_refused(settings: Settings, message: str) -> None:
    given: Settings = {"sampler": "meta-dataset", **settings}
    with pytest.raises(UsageError, match=message):
        complete(given, {"split": "meta-dataset", "threads": 1})
