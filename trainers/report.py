"""The figures of a run as plain data, and as the one line that ends it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from episodes import Store, Stream
from trainers.evaluation import Evaluation

LARGEST_SHARE = 0.95
Figures = dict[str, Any]
BranchNames = tuple[str, str] | None


@dataclass(frozen=True)
class FixedEpisodes:
    """The first `episodes` episodes of a stream of one store, adapted to in `steps` steps."""

    store: Store
    stream: Stream
    episodes: int
    steps: int

    def describe(self) -> Figures:
        """Which episodes these are; the fingerprint is what a paper can cite."""
        spec = self.stream.spec
        return {
            "episodes": self.episodes,
            "fingerprint": self.stream.fingerprint(self.episodes),
            "dataset": self.store.name,
            "store_digest": self.store.digest,
            "split": self.stream.split,
            "way": spec.way,
            "shot": spec.shot,
            "query": spec.query,
            "steps": self.steps,
            "episode_seed": self.stream.seed,
        }


def accuracy_figures(evaluation: Evaluation) -> Figures:
    """Mean accuracy and half the width of its 95 % interval, in 0..1; and the episodes whose query
    loss is not finite, which count with the accuracy that they have."""
    return {
        "accuracy": evaluation.mean,
        "interval": evaluation.interval,
        "diverged": int(np.count_nonzero(~np.isfinite(evaluation.losses))),
    }


def test_rates(evaluation: Evaluation, branches: BranchNames) -> Figures:
    """Mean and standard deviation of the rate over the episodes for each step; the branches."""
    return {
        "mean": evaluation.rates.mean(0).tolist(),
        "std": evaluation.rates.std(0).tolist(),
        "branches": _branch_shares(evaluation.branches, branches),
    }


def training_rates(
    iterations: Sequence[Mapping[str, Any]], branches: BranchNames
) -> Figures | None:
    """Mean of the rate over all training tasks, for each step, and the branches; None untrained."""
    if not iterations:
        return None
    return {
        "mean": np.mean([record["rates"] for record in iterations], axis=0).tolist(),
        "branches": _branch_shares(
            np.array([record["branches"] for record in iterations]), branches
        ),
    }


def _branch_shares(first: np.ndarray, names: BranchNames) -> dict[str, Figures] | None:
    """For each branch the share of all steps that took it, and of each step."""
    if names is None:
        return None
    return {
        name: {"share": float(shares.mean()), "by_step": shares.mean(0).tolist()}
        for name, shares in zip(names, (first, 1 - first), strict=True)
    }


def warnings(test: Figures, rates: Mapping[str, Figures | None]) -> list[str]:
    """What a reader of the figures must know."""
    found = [
        f"{100 * branch['share']:.1f} % of the {phase} steps used the branch {name}: "
        "the rates hardly depend on the task; choose --lr-max by validation accuracy"
        for phase, figures in rates.items()
        if figures is not None
        for name, branch in (figures["branches"] or {}).items()
        if branch["share"] > LARGEST_SHARE
    ]
    if test["diverged"]:
        found.append(f"{test['diverged']} of {test['episodes']} test episodes diverged")
    return found


def notes(results: Figures) -> list[str]:
    """What the result line must say of the stores: their marks, and classes trained on."""
    marks = results.get("marks", {"training": [], "test": []})
    verbs = {"trained": marks["training"], "tested": marks["test"]}
    if marks["training"] == marks["test"]:
        verbs = {"trained and tested": marks["test"]}
    found = [f"{verb} on a store marked {', '.join(told)}" for verb, told in verbs.items() if told]
    if overlap := results.get("overlap"):
        part = results["test"]["split"].rpartition(".")[2]
        if overlap["classes"]:
            found.append(
                f"trained on {overlap['classes']} of the {overlap['of_classes']} {part} classes"
            )
        if overlap["images"]:
            found.append(f"trained on {overlap['images']} of the {part} images")
    elif "overlap" in results:
        found.append("not known which of the classes were trained on")
    return found


def final_line(test: Figures, bn: str, place: object, notes: Sequence[str] = ()) -> str:
    """`test accuracy 81.23 ± 0.61 % over 600 episodes of glyphs alphabets.test (...) -> PLACE`."""
    said = "; ".join((f"{test['way']}-way {test['shot']}-shot, bn {bn}", *notes))
    return (
        f"test accuracy {100 * test['accuracy']:.2f} ± {100 * test['interval']:.2f} % "
        f"over {test['episodes']} episodes of {test['dataset']} {test['split']} "
        f"({said}) -> {place}"
    )
