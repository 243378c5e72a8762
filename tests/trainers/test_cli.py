"""The command line `trainers`: runs, reruns, evaluations, lists, and refusals in one line."""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result

import episodes
from tests.trainers.conftest import write_store
from trainers.checkpoint import load
from trainers.learner import build
from trainers.presets import PRESETS
from trainers.progress import clock
from trainers.rates import SCHEMES
from trainers.recorded import read_config
from trainers.run_directory import RunDirectory, find, locked
from trainers.sources import open_source

TINY = ("--iterations", 2)


def results_of(run: str) -> dict:
    return json.loads(Path(run, "results.json").read_text())


def figures(run: str) -> dict:
    return {name: value for name, value in results_of(run).items() if name != "seconds"}


def error_line(result: Result, exit_code: int) -> str:
    assert result.exit_code == exit_code, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    [line] = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    return line.removeprefix("error: ")


def test_a_run_ends_with_its_accuracy_and_its_files(train: Callable[..., Result], grey) -> None:
    result = train(*TINY, "--algo", "fomaml", "--lr", "fixed")
    run = "runs/grey-5w1s-fomaml-fixed-seed1"
    results = results_of(run)
    test = results["test"]
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1] == (
        f"test accuracy {100 * test['accuracy']:.2f} ± {100 * test['interval']:.2f} % over 5 "
        f"episodes of grey quarters.test (5-way 1-shot, bn batch) -> {run}"
    )
    store = episodes.open(grey)
    assert results["store"] == {"name": "grey", "digest": store.digest}
    assert test["fingerprint"] == store.stream("test", 5, 1, 2, seed=0).fingerprint(5)
    assert results["validation"]["fingerprint"] == store.stream("val", 5, 1, 2, 0).fingerprint(3)
    assert results["rates"]["test"]["mean"] == pytest.approx([0.01] * 10)
    assert results["rates"]["test"]["branches"] is None and results["warnings"] == []
    assert results["hardware"]["threads"] == 1 and results["versions"].keys() >= {"torch", "numpy"}
    assert {path.name for path in Path(run).iterdir()} == {
        "config.toml",
        "metrics.jsonl",
        "checkpoints",
        "learning_curve.png",
        "test_figures.json",
        "rates.png",
        "results.json",
        "lock",
    }


def test_plain_progress_tells_where_the_run_is(
    train: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainers.progress.SECONDS_BETWEEN_LINES", 0)
    lines = train(*TINY, "--out", "run").stderr.splitlines()
    assert any(
        re.fullmatch(
            r"training: iteration 1/2, loss \d\.\d{3}, accuracy \d+\.\d\d %, "
            r"\d+ episodes/s, \d+:\d\d left",
            line,
        )
        for line in lines
    )
    assert any(line.startswith("test: episode 5/5, ") for line in lines)


@pytest.mark.parametrize(("seconds", "text"), [(59.6, "1:00"), (61, "1:01"), (3661, "1:01:01")])
def test_times_are_read_off_a_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_one_branch_in_nearly_every_step_is_a_warning(train: Callable[..., Result]) -> None:
    result = train(*TINY, "--out", "run")
    branches = results_of("run")["rates"]["training"]["branches"]
    assert branches["lr_min"] == {"share": 1.0, "by_step": [1.0] * 5}
    assert branches["lr_max - k"]["share"] == 0.0
    assert "warning: 100.0 % of the training steps used the branch lr_min" in result.stderr
    train(*TINY, "--lr-max", 100, "--out", "other")
    assert results_of("other")["rates"]["test"]["branches"]["lr_max - k"]["share"] == 1.0
    assert "branch lr_max - k" in results_of("other")["warnings"][0]


def test_the_config_of_a_run_gives_the_same_run(
    train: Callable[..., Result], command: Callable[..., Result]
) -> None:
    assert train(*TINY, "--algo", "maml", "--out", "first").exit_code == 0
    assert command("run", "--config", "first/config.toml", "--out", "again").exit_code == 0
    assert figures("first") == figures("again")
    assert Path("first/metrics.jsonl").read_bytes() == Path("again/metrics.jsonl").read_bytes()

    changed = command("run", "--config", "first/config.toml", "--seed", 2, "--out", "changed")
    assert changed.exit_code == 0
    assert tomllib.loads(Path("changed/config.toml").read_text())["seed"] == 2
    config = Path("first/config.toml")
    config.write_text(config.read_text().replace('digest = "', 'digest = "0'))
    line = error_line(command("run", "--config", config, "--out", "replaced"), 1)
    assert "grey has the content digest" in line
    assert not Path("replaced").exists()


def test_no_iterations_test_the_initial_weights(train: Callable[..., Result]) -> None:
    result = train("--iterations", 0, "--json", "--out", "run")
    assert result.exit_code == 0, result.output
    results = json.loads(result.stdout)
    assert results == results_of("run")
    assert results["checkpoint"]["iteration"] == 0 and results["rates"]["training"] is None
    assert Path("run/metrics.jsonl").read_text().count("\n") == 1


def test_a_scheme_without_validation_tests_the_last_checkpoint(
    train: Callable[..., Result],
) -> None:
    result = train("--split", "halves", "--iterations", 4, "--out", "run")
    assert "grey halves has no validation tasks" in result.stderr
    results = results_of("run")
    assert results["validation"] is None and results["splits"]["val"] is None
    assert results["checkpoint"] == {"iteration": 4, "file": "checkpoints/last.safetensors"}
    assert load("run/checkpoints/last.safetensors", "")[1]["position"]["iteration"] == 4


def test_the_dataset_sets_the_defaults_that_it_has(train: Callable[..., Result]) -> None:
    assert train("--out", "run").exit_code == 0
    config = results_of("run")["config"]
    assert (config["iterations"], config["validate_every"], config["val_episodes"]) == (6, 2, 3)
    assert config["split"] == "quarters" and Path(config["dataset"]).is_absolute()


def test_an_evaluation_repeats_the_test_or_changes_it(
    train: Callable[..., Result], command: Callable[..., Result]
) -> None:
    train(*TINY, "--out", "run")
    same = command("eval", "run", "--json")
    assert same.exit_code == 0, same.output
    assert json.loads(same.stdout)["test"] == results_of("run")["test"]

    trained_on = ("--split", "halves.train", "--allow-overlap")
    other = command("eval", "run", *trained_on, "--shot", 2, "--eval-steps", 3)
    told = "(5-way 2-shot, bn batch; trained on 12 of the 12 train classes) -> run/eval-grey"
    assert f"of grey halves.train {told}" in other.stdout
    [path] = Path("run").glob("eval-grey-*-halves.train-5w2s2q-3steps-5episodes-seed0.json")
    assert np.shape(json.loads(path.read_text())["rates"]["test"]["mean"]) == (3,)


def test_a_run_is_evaluated_on_several_datasets_at_once(
    train: Callable[..., Result], command: Callable[..., Result], tmp_path: Path
) -> None:
    train(*TINY, "--out", "run")
    a, b, c = (write_store(tmp_path / name) for name in "abc")
    for flags in (
        ("run", "--dataset", a, b, c, "--shot", 2),
        ("run", "--shot", 2, "--dataset", a, "--dataset", b, "--dataset", c),
    ):
        several = json.loads(command("eval", *flags, "--json").stdout)
        assert [results["test"]["dataset"] for results in several] == ["a", "b", "c"]
        assert {results["test"]["shot"] for results in several} == {2}
    first = json.loads(command("eval", "--dataset", a, "run", "--json").stdout)
    assert first["test"]["dataset"] == "a"
    unknown = error_line(command("eval", "run", "--dataset", a, "grey"), 2)
    assert "unknown dataset 'grey'" in unknown


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--dataset", "COLOUR"), "was trained on 16x16 grey images of grey, and colour holds"),
        (("--way", 4), "run was trained with --way 5, and under anil the head is learned"),
        (("--split", "tset"), "unknown split of grey"),
        (("--shot", 7), "too few for shot 7 + query 2"),
    ],
)
def test_an_evaluation_that_does_not_fit_is_refused(
    train: Callable[..., Result], command: Callable[..., Result], colour: Path, flags, message
) -> None:
    train(*TINY, "--out", "run")
    flags = [colour if flag == "COLOUR" else flag for flag in flags]
    assert message in error_line(command("eval", "run", *flags), 2)


def test_a_damaged_checkpoint_is_named(
    train: Callable[..., Result], command: Callable[..., Result]
) -> None:
    train(*TINY, "--out", "run")
    best = Path("run") / results_of("run")["checkpoint"]["file"]
    content = bytearray(best.read_bytes())
    content[-1] ^= 1
    best.write_bytes(content)
    line = error_line(command("eval", "run"), 1)
    assert str(best) in line and "trainers run --config run/config.toml" in line


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--algo", "malm"), "unknown algorithm 'malm': did you mean 'maml'"),
        (("--lr", "personalised"), "unknown rate scheme 'personalised': did you mean 'personal"),
        (("--algo", "reptile", "--lr", "alfa"), "--lr alfa has no use in reptile"),
        (("--preset", "maml"), "unknown preset 'maml'"),
        (("--preset", "alfa", "--config", "x.toml"), "--config and --preset both give"),
        (("--backbone", "conv3"), "did you mean 'conv4'"),
        (("--divergence", "kl"), "unknown divergence 'kl'"),
        (("--bn", "bath"), "did you mean 'batch'"),
        (("--split", "quaters"), "did you mean 'quarters'"),
        (("--dataset", "omniglott"), "unknown dataset 'omniglott': did you mean 'omniglot'"),
        (("--inner-lr", "0.1"), "--inner-lr 0.1 has no use here"),
        (("--way", "7"), "quarters.val has 6 classes; too few for way 7"),
        (("--train-way", "4"), "--train-way 4 differs from --way 5"),
        (("--query", "9"), "too few for shot 1 + query 9"),
        (("--resume", "runs/none"), "runs/none: no such directory; expected a run: make one with"),
        (("--resume", "runs/none", "--out", "run"), "leave out --out, --config"),
    ],
)
def test_a_wrong_flag_is_refused_before_anything_is_written(
    train: Callable[..., Result], flags: tuple[str, ...], message: str
) -> None:
    assert message in error_line(train(*flags), 2)
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "--way", "five"), "invalid value for '--way': 'five' is not a valid integer"),
        (("run", "--iteration", 5), "unknown option '--iteration': did you mean '--iterations'?"),
        (("run", "--no-adpt-bn"), "unknown option '--no-adpt-bn': did you mean '--no-adapt-bn'?"),
        (("run", "--qqq"), "unknown option '--qqq'"),
        (("run", "--out"), "option '--out' requires an argument"),
        (("run", "stray"), "got unexpected extra argument (stray)"),
        (("run", "--track", "x"), "'--track': 'x' is not one of 'tensorboard', 'wandb', 'mlflow'"),
        (("adapt", "model"), "missing option '--support'"),
        (("export",), "missing argument 'RUN'"),
    ],
)
def test_what_is_typed_wrongly_is_one_line_with_the_help_to_ask_for(
    command: Callable[..., Result], arguments: tuple[object, ...], message: str
) -> None:
    result = command(*arguments)
    line = error_line(result, 2)
    assert message in line and result.stderr == f"error: {line}\n"
    assert line.endswith(f" (all options: `main {arguments[0]} --help`)")


def test_the_programs_own_flags_are_refused_alike_and_without_a_command_they_tell_of_all(
    command: Callable[..., Result],
) -> None:
    assert error_line(command("--versoin"), 2) == (
        "unknown option '--versoin': did you mean '--version'? (all options: `main --help`)"
    )
    assert "Commands:" in command().stderr and "error:" not in command().stderr
    assert command("run", "--help").exit_code == 0


def test_a_folder_in_use_or_with_a_run_is_refused(train: Callable[..., Result]) -> None:
    Path("run").mkdir()
    with locked(RunDirectory(Path("run"))):
        assert "in use by another process" in error_line(train("--out", "run"), 1)
    assert train(*TINY, "--out", "run").exit_code == 0
    assert "trainers run --resume run" in error_line(train(*TINY, "--out", "run"), 2)


def test_the_list_names_what_works_with_source_and_defaults(command: Callable[..., Result]) -> None:
    tables = json.loads(command("list", "--json").stdout)
    working = {entry["name"] for entry in tables["rate scheme"]}
    assert working == set(SCHEMES)
    assert all(entry["source"] and entry["summary"] for table in tables.values() for entry in table)
    plain = command("list").stdout
    assert "algorithm (--algo)" in plain and "boil" in plain and "inner_lr = 0.01" in plain
    assert all(name in plain for name in PRESETS)


def test_the_module_runs_as_a_program() -> None:
    environment = {"PYTHONPATH": os.pathsep.join(sys.path), **os.environ}
    command = [sys.executable, "-m", "trainers", "run", "--algo", "malm"]
    run = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert run.returncode == 2
    assert run.stderr.startswith("error: unknown algorithm 'malm'")


@pytest.mark.parametrize(
    "flags",
    [
        ("--algo", "protonet"),
        ("--algo", "r2d2"),
        ("--algo", "maml", "--lr", "alfa", "--head-init", "zero"),
        *(
            ("--algo", "proto-maml", "--lr", lr, "--head-rates", "shared")
            for lr in ("meta-sgd", "pamela", "curvature")
        ),
    ],
    ids=" ".join,
)
def test_without_a_learned_head_a_run_is_evaluated_with_another_way(
    flags: tuple[str, ...], train: Callable[..., Result], command: Callable[..., Result]
) -> None:
    assert train(*flags, "--iterations", 1, "--train-way", 4, "--out", "run").exit_code == 0
    result = command("eval", "run", "--way", 3, "--shot", 2)
    assert result.exit_code == 0, result.stderr
    assert "(3-way 2-shot" in result.stdout


def test_alfa_with_random_weights_trains_neither_them_nor_batch_norm(
    train: Callable[..., Result],
) -> None:
    flags = ("--algo", "maml", "--lr", "alfa", "--random-init", "--no-adapt-bn", "--steps", 1)
    assert train(*flags, "--eval-steps", 1, "--iterations", 2, "--out", "run").exit_code == 0
    first, _ = load(Path("run/checkpoints/last.safetensors"), "")
    config, _ = read_config(find(Path("run")))
    start, _ = build(config, open_source(config.dataset)).initial(config.seed)
    weights = {name: first[f"params/{name}"] for name in start}
    assert all(torch.equal(weights[name], tensor) for name, tensor in start.items())
