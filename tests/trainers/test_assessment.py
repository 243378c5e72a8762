"""Evaluations that are there already: taken up only where they are of the same episodes."""

import json
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

from trainers.assessment import evaluate_run
from trainers.interrupt import Interrupt
from trainers.progress import progress
from trainers.report import Figures


def again(run: Path) -> Figures:
    with progress(Interrupt()) as shown:
        return evaluate_run(run, None, "test", {}, shown, reuse=True)[1]


def test_an_evaluation_of_other_episodes_is_made_anew(train: Callable[..., Result]) -> None:
    train("--iterations", 1, "--out", "run")
    first = again(Path("run"))
    [written] = Path("run").glob("eval-*.json")
    marked = json.loads(written.read_text()) | {"warnings": ["of the file"]}
    written.write_text(json.dumps(marked))
    assert again(Path("run")) == marked

    marked["test"]["fingerprint"] = "of classes that were divided otherwise"
    written.write_text(json.dumps(marked))
    assert again(Path("run"))["test"] == first["test"]
