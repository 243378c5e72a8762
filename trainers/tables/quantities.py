"""What a cell measures of a finished run, in the unit that papers print it in."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from trainers.run_directory import RunDirectory, read_metrics

Figures = Mapping[str, Any]

HALF_A_GUESS = 0.5 * math.log(5)
"""Half the loss of a guess among five classes."""
AVERAGED = 20


class Measured(NamedTuple):
    """A figure, None where the run did not get there, and half its 95 % interval's width."""

    mean: float | None
    interval: float | None = None


@dataclass(frozen=True)
class Quantity:
    """`of(run, results)` measures a finished run by its directory and the figures of its test,
    which may be that of another dataset; numbers are printed with `digits` decimals and `unit`.
    Figures that differ by `rounding` at most are the same: papers print some in thousands."""

    name: str
    of: Callable[[RunDirectory, Figures], Measured]
    digits: int
    unit: str = ""
    rounding: float = 0.0

    def text(self, mean: float, interval: float | None = None) -> str:
        """`47.77 ± 0.92`."""
        numbers = [mean] if interval is None else [mean, interval]
        return " ± ".join(self._number(number) for number in numbers)

    def _number(self, number: float) -> str:
        return f"{number:.3g}" if abs(number) >= 1e9 else f"{number:.{self.digits}f}"


def iterations_to_loss(metrics: Path) -> int | None:
    """The first iteration whose loss, averaged over the last 20, is half a guess's or less; None
    where there is none."""
    losses = [record["loss"] for record in read_metrics(metrics)[0]]
    for end in range(AVERAGED, len(losses) + 1):
        if sum(losses[end - AVERAGED : end]) / AVERAGED <= HALF_A_GUESS:
            return end
    return None


def learned_parameters(run: RunDirectory) -> int:
    """How many numbers the outer loop learns, by the run's last checkpoint."""
    from trainers import checkpoint

    tensors, _ = checkpoint.load(run.last_checkpoint, run.advice)
    learned = ("params/", "meta/")
    return sum(tensor.numel() for name, tensor in tensors.items() if name.startswith(learned))


def _accuracy(run: RunDirectory, results: Figures) -> Measured:
    test = results["test"]
    return Measured(100 * test["accuracy"], 100 * test["interval"])


def _mse(run: RunDirectory, results: Figures) -> Measured:
    return Measured(results["test"]["mse"], results["test"]["interval"])


def _train_ms_per_task(run: RunDirectory, results: Figures) -> Measured:
    config = results["config"]
    tasks = config["iterations"] * config["meta_batch_size"]
    return Measured(1000 * results["seconds"]["training"] / tasks)


def _test_ms_per_task(run: RunDirectory, results: Figures) -> Measured:
    return Measured(1000 * results["seconds"]["test"] / results["test"]["episodes"])


QUANTITIES = {
    quantity.name: quantity
    for quantity in (
        Quantity("accuracy", _accuracy, 2, "%"),
        Quantity("mse", _mse, 3),
        Quantity("parameters", lambda run, _: Measured(learned_parameters(run)), 0, rounding=10),
        Quantity("inner_updates", lambda _, found: Measured(found["config"]["steps"]), 0),
        Quantity("train_ms_per_task", _train_ms_per_task, 2, "ms"),
        Quantity("test_ms_per_task", _test_ms_per_task, 2, "ms"),
        Quantity("iterations_to_loss", lambda run, _: Measured(iterations_to_loss(run.metrics)), 0),
    )
}
