"""The hint on a run that takes more than an hour: when, and what it names."""

from collections.abc import Callable

import pytest
from click.testing import Result

from trainers.config import RunConfig, complete
from trainers.long_run import hint


def settings(**given: object) -> RunConfig:
    return complete({"dataset": "cub", **given}, {"split": "closerlook", "threads": 1})


def test_within_an_hour_nothing_is_said() -> None:
    assert hint(3600, settings(), 84) is None
    assert hint(float("-inf"), settings(), 84) is None


def test_a_long_run_is_told_what_a_first_look_is_and_what_is_faster() -> None:
    text = hint(2 * 3600 + 62, settings(iterations=60_000), 84)
    assert text is not None and text.startswith("about 2:01:02 left: 60,000 iterations are the p")
    assert "`--iterations 100` is a first look" in text
    faster = "images of `episodes prepare DATASET --size 32`, or `--filters 32`"
    assert text.endswith(f"; faster: {faster}")


@pytest.mark.parametrize(
    ("given", "size", "end"),
    [
        ({}, 28, "; faster: `--filters 32`"),
        ({"filters": 32}, 84, "; faster: images of `episodes prepare DATASET --size 32`"),
        ({"filters": 16}, 32, "is a first look"),
    ],
)
def test_what_would_not_be_faster_is_left_out(given: dict, size: int, end: str) -> None:
    text = hint(1e5, settings(**given), size)
    assert text is not None and text.endswith(end)


def test_a_run_says_it_once(train: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainers.training.SECONDS_OF_A_PACE", 0)
    assert "first look" not in train("--iterations", 2, "--out", "short").stderr
    monkeypatch.setattr("trainers.long_run.LONG", 0)
    assert train("--iterations", 3, "--out", "long").stderr.count("first look") == 1
