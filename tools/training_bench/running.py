"""The run: the rows of one algorithm after another, in rounds of shuffled order."""

import random
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from episodes.errors import UsageError
from training_bench import peaks, problem
from training_bench.network import flops_of_iteration
from training_bench.ours import float64_gradient, opened, run_config
from training_bench.processes import CHECK, PROBLEM, Failed, Place, Pool
from training_bench.rows import Choice, Row
from training_bench.setting import Setting

AGREES = 1e-8
"""The largest difference of meta-gradients in float64, relative to the largest element."""

PLAIN = {"task_batching": "loop", "blocks": "plain", "inner_graph": "stored"}
"""The run settings under which nothing is batched, fused or recomputed."""


@dataclass(frozen=True)
class Rounds:
    """How often each row is timed, over how many iterations, after how many that do not count.

    `steady` iterations and an evaluation of `episodes` follow for the trainers unless they are 0.
    """

    rounds: int = 5
    iterations: int = 1
    warm_up: int = 1
    steady: int = 0
    episodes: int = 0


@dataclass
class Measured:
    """A row as it was measured: seconds an iteration in each round, and what else was seen."""

    row: Row
    seconds: list[float] = field(default_factory=list)
    others: list[float] = field(default_factory=list)
    last: Mapping[str, Any] = field(default_factory=dict)
    difference: float | None = None
    steady_seconds: float | None = None
    evaluation_seconds: float | None = None


@dataclass
class Group:
    """The rows of one algorithm, why others were not measured, and the operations of an
    iteration."""

    algo: str
    rows: list[Measured]
    skipped: dict[str, str]
    flops: int | None


def run(
    setting: Setting,
    choice: Choice,
    rounds: Rounds,
    peers_python: str,
    scratch: Path,
    tell: Callable[[str], None],
) -> tuple[dict[str, float], list[Group]]:
    """The machine's peaks, and a group of rows for each algorithm."""
    place = Place(setting, peers_python, scratch)
    problem.write(setting, scratch / PROBLEM, torch.float32)
    problem.write(setting.of_check, scratch / CHECK, torch.float64)
    found = peaks.measured(setting.device, setting.threads)
    tell(", ".join(f"{name}: {figure:.0f} GFLOP/s" for name, figure in found.items()))
    return found, [_group(algo, place, choice, rounds, tell) for algo in choice.algos]


def _group(
    algo: str, place: Place, choice: Choice, rounds: Rounds, tell: Callable[[str], None]
) -> Group:
    rows = choice.rows(algo, place.setting.device, place.setting.dataset is not None)
    skipped: dict[str, str] = {}

    def skip(row: Row, reason: object) -> None:
        skipped[f"{row.name}, {row.allocator} allocator"] = str(reason)
        tell(f"{row.full_name}: not measured: {reason}")

    waiting = []
    for row in rows:
        reason = _refusal(row, place.setting)
        if reason is None:
            waiting.append(Measured(row))
        else:
            skip(row, reason)
    order, turns = random.Random(0), list(waiting)
    with closing(Pool(place, rounds.warm_up)) as pool:
        for number in range(rounds.rounds):
            order.shuffle(turns)
            for found in list(turns):
                try:
                    _take_turn(found, pool, place, rounds, is_first=number == 0)
                except Failed as reason:
                    turns.remove(found)
                    skip(found.row, reason)
                    continue
                tell(f"round {number + 1}: {found.row.full_name}: {found.seconds[-1]:.3f} s")
        for found in turns:
            try:
                _after_rounds(found, pool, rounds)
            except Failed as reason:
                skip(found.row, f"after the rounds: {reason}")
    kept = [found for found in waiting if found in turns]
    _compare(kept, place)
    return Group(algo, kept, skipped, flops_of_iteration(place.setting, algo))


def _refusal(row: Row, setting: Setting) -> str | None:
    """Why the trainers do not take a row's settings; None where they do."""
    if row.is_ours:
        try:
            run_config(setting, row.chosen, opened(setting))
        except UsageError as error:
            return str(error).partition(" (known:")[0].rstrip(":? ")
    return None


def _take_turn(found: Measured, pool: Pool, place: Place, rounds: Rounds, is_first: bool) -> None:
    if not is_first:  # Some systems take memory back from a process that waits.
        pool.ask(found.row, "iterate", rounds.warm_up, False)
    is_compared = is_first and _is_compared(found.row) and not place.gradient(found.row).exists()
    answer = pool.ask(found.row, "iterate", rounds.iterations, is_compared)
    found.seconds.append(answer["seconds"] / rounds.iterations)
    found.others.append(answer["others"])
    found.last = answer


def _after_rounds(found: Measured, pool: Pool, rounds: Rounds) -> None:
    """The steady rate and the evaluation, of the trainers' rows."""
    if found.row.is_ours and rounds.steady:
        answer = pool.ask(found.row, "iterate", rounds.steady, False)
        found.steady_seconds = answer["seconds"]
    if found.row.is_ours and rounds.episodes:
        answer = pool.ask(found.row, "evaluate", rounds.episodes, False)
        found.evaluation_seconds = answer["seconds"]


def _is_compared(row: Row) -> bool:
    """In lower precision there is nothing to be compared in float64."""
    return row.precision != "bf16" and not row.is_streaming


def _compare(measured: list[Measured], place: Place) -> None:
    """Note how far each meta-gradient is from that of the trainers' plain loop on a CPU."""
    references: dict[str, dict[str, np.ndarray]] = {}
    for found in measured:
        row, path = found.row, place.gradient(found.row)
        if not path.exists():
            continue
        if row.lr not in references:
            plain = replace(place.setting, device="cpu").of_check
            gradient = float64_gradient(plain, {"algo": row.algo, "lr": row.lr, **PLAIN})
            references[row.lr] = {name: tensor.numpy() for name, tensor in gradient.items()}
        with np.load(path) as arrays:
            found.difference = difference(dict(arrays), references[row.lr])


def difference(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> float:
    """The largest difference of two gradients, relative to the largest element of `expected`.

    A tensor that one of them lacks counts as zeros.
    """
    zero = np.zeros(())
    names = found.keys() | expected.keys()
    far = max(float(np.abs(found.get(n, zero) - expected.get(n, zero)).max()) for n in names)
    return far / max(float(np.abs(array).max()) for array in expected.values())
