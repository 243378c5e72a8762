"""A run that is killed and resumed ends as one that was not, bit for bit.

The kills are real SIGKILLs of real processes: after random times, and just before random ones of
the system calls that make files durable, rename them, or remove them.
"""

import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

import pytest
from click.testing import Result
from safetensors.torch import load_file

TINY = ("--filters", "4", "--query", "2", "--meta-batch-size", "2", "--episodes", "8")
STEPS = ("--steps", "2", "--eval-steps", "3")
FLAGS = (
    *TINY,
    *STEPS,
    "--iterations",
    "12",
    "--validate-every",
    "3",
    "--keep-top",
    "2",
    "--algo",
    "maml",
)
CALLS_OF_A_RUN = 40
KILL, INTERRUPT, NOTHING = 9, 2, 0

# Imports and warms up what a run needs, once, then forks a process for each attempt.
ATTEMPTS = """
import json, os, pathlib, sys, time
import episodes.prepare, episodes.store.hdf5, filelock, safetensors.torch, torch
from trainers import cli, lifecycle, metrics, pictures

def signal_before(calls, signal):
    def wrapped(call):
        def counted(*arguments, **options):
            nonlocal calls
            calls -= 1
            if calls == 0:
                os.kill(os.getpid(), signal)
            return call(*arguments, **options)
        return counted
    os.fsync = wrapped(os.fsync)
    for name in ("mkdir", "replace", "unlink"):
        setattr(pathlib.Path, name, wrapped(getattr(pathlib.Path, name)))

torch.optim.Adam([torch.zeros(1)])
pictures.learning_curve(metrics.ACCURACY, [], [], {"accuracy": 1, "interval": 0})
duration = None
for attempt in json.load(sys.stdin):
    run = attempt["run"]
    is_begun = pathlib.Path(run, "config.toml").exists()
    begun = time.monotonic()
    pid = os.fork()
    if pid == 0:
        os.dup2(2, 1)
        if attempt["calls"]:
            signal_before(attempt["calls"], attempt["signal"])
        try:
            cli.main(["run", "--resume", run] if is_begun else [*sys.argv[1:], "--out", run])
        except SystemExit as end:
            # Without tearing down the interpreter, which takes as long as the run.
            sys.stderr.flush()
            os._exit(end.code)
    if attempt["share"]:
        time.sleep(attempt["share"] * duration)
        os.kill(pid, attempt["signal"])
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    duration = duration or time.monotonic() - begun
"""


@dataclass(frozen=True)
class Attempt:
    """Begin or resume `run`; `signal` it before the `calls`th of the system calls, or after a
    `share` of the time that the first attempt took."""

    run: str
    signal: int = NOTHING
    calls: int = 0
    share: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """The folder of the attempts, their exit codes by run, and what they said."""

    folder: Path
    codes: dict[str, list[int]]
    messages: str


def attempt(
    attempts: Sequence[Attempt], store: Path, folder: Path, further: Sequence[str] = ()
) -> Outcome:
    """Make the attempts on a copy of `store`, one after the other, in `folder`."""
    shutil.copytree(store, folder / "store")
    flags = ("run", "--dataset", str(folder / "store"), "--threads", "1", *FLAGS, *further)
    finished = subprocess.run(
        [sys.executable, "-c", ATTEMPTS, *flags],
        input=json.dumps([asdict(attempt) for attempt in attempts]),
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert "Traceback" not in finished.stderr, finished.stderr
    codes: dict[str, list[int]] = {}
    for made, code in zip(attempts, finished.stdout.split(), strict=True):
        codes.setdefault(made.run, []).append(int(code))
    return Outcome(folder, codes, finished.stderr)


def assert_same(run: Path, reference: Path) -> None:
    """Weights, moments, metrics and figures are the same, bit for bit; wall times may differ."""
    names = {path.relative_to(reference) for path in reference.rglob("*")}
    assert {path.relative_to(run) for path in run.rglob("*")} == names
    for checkpoint in reference.glob("checkpoints/*"):
        expected = load_file(checkpoint)
        found = load_file(run / "checkpoints" / checkpoint.name)
        assert {name: tensor.numpy().tobytes() for name, tensor in found.items()} == {
            name: tensor.numpy().tobytes() for name, tensor in expected.items()
        }
    assert (run / "metrics.jsonl").read_bytes() == (reference / "metrics.jsonl").read_bytes()
    assert figures(run) == figures(reference)


def figures(run: Path) -> dict:
    results = json.loads((run / "results.json").read_text())
    assert results.pop("seconds")["training"] > 0
    return results


def killed_twice(run: str, draw: Random) -> list[Attempt]:
    return [
        Attempt(run, KILL, draw.randint(1, CALLS_OF_A_RUN)),
        Attempt(run, KILL, draw.randint(1, 20)),
        Attempt(run),
    ]


KILLED_BEFORE_CALLS = ("calls1", "calls2")


@pytest.fixture(scope="module")
def outcome(grey: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """A run that nothing disturbed, then runs that were killed or interrupted and resumed."""
    draw, any_draw = Random(1), Random()
    attempts = [
        Attempt("undisturbed"),
        Attempt("halfway", INTERRUPT, calls=20),
        *(attempt for run in KILLED_BEFORE_CALLS for attempt in killed_twice(run, draw)),
        Attempt("times", KILL, share=any_draw.random()),
        Attempt("times", KILL, share=any_draw.random()),
        Attempt("times"),
        Attempt("ctrl-c", INTERRUPT, calls=20),
        Attempt("ctrl-c"),
    ]
    return attempt(attempts, grey, tmp_path_factory.mktemp("attempts"))


def test_a_run_that_nothing_disturbs_ends(outcome: Outcome) -> None:
    assert outcome.codes["undisturbed"] == [0]


@pytest.mark.parametrize("run", KILLED_BEFORE_CALLS)
def test_killed_before_random_system_calls(outcome: Outcome, run: str) -> None:
    assert outcome.codes[run][0] == -KILL and outcome.codes[run][-1] == 0
    assert_same(outcome.folder / run, outcome.folder / "undisturbed")


def test_killed_after_random_times(outcome: Outcome) -> None:
    assert outcome.codes["times"][-1] == 0
    assert_same(outcome.folder / "times", outcome.folder / "undisturbed")


def test_interrupted_by_ctrl_c(outcome: Outcome) -> None:
    assert outcome.codes["ctrl-c"] == [130, 0]
    assert "continue with `trainers run --resume ctrl-c`" in outcome.messages
    assert_same(outcome.folder / "ctrl-c", outcome.folder / "undisturbed")


@pytest.mark.slow
def test_killed_before_each_system_call(grey: Path, tmp_path: Path) -> None:
    more_than_there_are = CALLS_OF_A_RUN + 10
    runs = {f"run{calls}": calls for calls in range(1, more_than_there_are + 1)}
    attempts = [(Attempt(run, KILL, calls), Attempt(run)) for run, calls in runs.items()]
    outcome = attempt([Attempt("undisturbed"), *itertools.chain(*attempts)], grey, tmp_path)
    ends = [outcome.codes[run][0] for run in runs]
    assert ends == sorted(ends) and ends[CALLS_OF_A_RUN - 1] == -KILL and ends[-1] == 0
    for run in runs:
        assert outcome.codes[run][1] == 0
        assert_same(tmp_path / run, tmp_path / "undisturbed")


@pytest.mark.slow
def test_a_sampler_that_learns_goes_on_after_a_kill(grey: Path, tmp_path: Path) -> None:
    further = ("--sampler", "adaptive", "--sampler-lr", "0.1", "--regularizer", "trlearner")
    killed = [[Attempt(f"run{n}", KILL, 9 * n), Attempt(f"run{n}")] for n in (1, 2, 3)]
    attempts = [Attempt("undisturbed"), *itertools.chain(*killed)]
    outcome = attempt(attempts, grey, tmp_path, (*further, "--meta-batch-size", "3"))
    for run in ("run1", "run2", "run3"):
        assert outcome.codes[run] == [-KILL, 0]
        assert_same(tmp_path / run, tmp_path / "undisturbed")


@pytest.fixture
def run(outcome: Outcome, command: Callable[..., Result], tmp_path: Path) -> Path:
    """A copy of the run that was interrupted halfway, in the current folder."""
    assert outcome.codes["halfway"] == [130]
    shutil.copytree(outcome.folder / "halfway", tmp_path / "run")
    return Path("run")


def refusal(result: Result, exit_code: int) -> str:
    assert result.exit_code == exit_code, result.output
    [line] = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    return line


def test_changed_flags_are_refused(run: Path, command: Callable[..., Result]) -> None:
    result = command("run", "--resume", run, "--seed", 2, "--steps", 2, "--no-adapt-bn")
    line = refusal(result, 2)
    assert "--seed 2 (recorded: --seed 1)" in line
    assert "--no-adapt-bn (recorded: --adapt-bn)" in line
    assert "--steps" not in line


def test_a_changed_config_file_is_refused(run: Path, command: Callable[..., Result]) -> None:
    config = run / "config.toml"
    config.write_text(config.read_text().replace("steps = 2", "steps = 4", 1))
    line = refusal(command("run", "--resume", run), 1)
    assert "last.safetensors: written under other settings than config.toml's" in line


def test_another_store_is_refused(
    outcome: Outcome, run: Path, colour: Path, command: Callable[..., Result]
) -> None:
    store = outcome.folder / "store"
    kept = store.rename(outcome.folder / "kept")
    shutil.copytree(colour, store)
    try:
        line = refusal(command("run", "--resume", run), 1)
    finally:
        shutil.rmtree(store)
        kept.rename(store)
    assert "has the content digest" in line and "run/config.toml was written for" in line


@pytest.mark.parametrize("damage", ["flipped", "truncated", "missing"])
def test_a_damaged_checkpoint_is_refused_and_can_be_replaced(
    run: Path, command: Callable[..., Result], outcome: Outcome, damage: str
) -> None:
    last = run / "checkpoints" / "last.safetensors"
    content = last.read_bytes()
    if damage == "missing":
        last.unlink()
    else:
        half = len(content) // 2
        flipped = content[:half] + bytes([content[half] ^ 16]) + content[half + 1 :]
        last.write_bytes(flipped if damage == "flipped" else content[:half])
    line = refusal(command("run", "--resume", run), 1)
    assert str(last) in line and "replace it by another of its folder" in line

    shutil.copy(max(run.glob("checkpoints/iteration-*")), last)
    assert command("run", "--resume", run).exit_code == 0
    assert_same(run, outcome.folder / "undisturbed")


def test_a_finished_run_says_so(run: Path, command: Callable[..., Result]) -> None:
    first = command("run", "--resume", run)
    assert first.exit_code == 0, first.output
    times = {path: path.stat().st_mtime_ns for path in run.rglob("*.*")}
    again = command("run", "--resume", run)
    assert again.exit_code == 0 and "run is finished" in again.stderr
    assert again.stdout == first.stdout
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*.*")} == times
