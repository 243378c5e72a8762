"""The figures of a run as plain data, and as the one line that ends it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from trainers.config import Shape
from trainers.evaluation import Evaluation
from trainers.metrics import METRICS, R2, Metric
from trainers.tasks.metrics import GOOD_R_SQUARED, drug_activity

if TYPE_CHECKING:
    from trainers.sources import Source, TaskStream

LARGEST_SHARE = 0.95
Figures = dict[str, Any]
BranchNames = tuple[str, str] | None


@dataclass(frozen=True)
class FixedEpisodes:
    """The first `episodes` tasks of a stream, adapted to in `steps` steps."""

    source: "Source"
    stream: "TaskStream"
    shape: Shape
    episodes: int
    steps: int

    def describe(self) -> Figures:
        """Which episodes these are; the fingerprint is what a paper can cite."""
        return {
            "episodes": self.episodes,
            "fingerprint": self.stream.fingerprint(self.episodes),
            "dataset": self.source.name,
            "store_digest": self.source.digest,
            "split": self.stream.split,
            **self.shape._asdict(),
            "steps": self.steps,
            "episode_seed": self.stream.seed,
        }


def metric_figures(metric: Metric, evaluation: Evaluation) -> Figures:
    """The metric's mean, half the width of its 95 % interval, and median (accuracy in 0..1); and
    the episodes whose query loss is not finite, which count with the figure that they have.

    A few tasks that diverge can carry the mean of an error; they do not move the median. Of
    the squared correlation also the share and the number of tasks above 0.3.
    """
    worst = -np.inf if metric.is_higher_better else np.inf
    ranked = np.where(np.isnan(evaluation.figures), worst, evaluation.figures)
    found = {
        "metric": metric.name,
        metric.name: evaluation.mean,
        "interval": evaluation.interval,
        "median": float(np.median(ranked)),
        "diverged": int(np.count_nonzero(~np.isfinite(evaluation.losses))),
    }
    if metric is R2:
        of_drugs = drug_activity(evaluation.figures)
        found |= {"share_above": of_drugs.share_above, "count_above": of_drugs.count_above}
    return found


def test_rates(evaluation: Evaluation, branches: BranchNames) -> Figures:
    """Mean and standard deviation of the rate over the episodes for each step; the branches.

    Where a scheme has a rate for each tensor there is a row for each step. With them, for each
    step, the support loss before it and the norm of its gradient.
    """
    return {
        "mean": evaluation.rates.mean(0).tolist(),
        "std": evaluation.rates.std(0).tolist(),
        "branches": _branch_shares(evaluation.branches, branches),
        "support_loss": evaluation.support_losses.mean(0).tolist(),
        "grad_norm": _mean_norms(evaluation.grad_norms),
    }


def _mean_norms(grad_norms: np.ndarray) -> list[float]:
    """The mean over the episodes of the whole gradient's norm, for each step, of the tensors'."""
    if not grad_norms.size:  # Without an inner loop there is no axis of tensors.
        return []
    found: list[float] = np.sqrt(np.square(grad_norms).sum(-1)).mean(0).tolist()
    return found


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
    if names is None or first.size == 0:
        return None
    return {
        name: {"share": float(shares.mean()), "by_step": shares.mean(0).tolist()}
        for name, shares in zip(names, (first, 1 - first), strict=True)
    }


def warnings(test: Figures, rates: Mapping[str, Figures | None], skipped: int = 0) -> list[str]:
    """What a reader of the figures must know; `skipped` outer steps were not finite."""
    found = [
        f"{100 * branch['share']:.1f} % of the {phase} steps used the branch {name}: "
        "the rates hardly depend on the task; choose --lr-max by validation"
        for phase, figures in rates.items()
        if figures is not None
        for name, branch in (figures["branches"] or {}).items()
        if branch["share"] > LARGEST_SHARE
    ]
    if skipped:
        found.append(f"{skipped} outer steps were left out: their loss or gradient was not finite")
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
    checkpoint = results.get("checkpoint", {})
    if "choice" in checkpoint:
        found.append(f"{checkpoint['choice']} of {len(checkpoint['files'])} checkpoints")
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
    metric = METRICS[test["metric"]]
    if metric is R2:
        notes = (f"{test['count_above']} above {GOOD_R_SQUARED}", *notes)
    said = "; ".join((f"{Shape(test['way'], test['shot'], test['query'])}, bn {bn}", *notes))
    return (
        f"test {metric.name} {metric.text(test[metric.name], test['interval'])} "
        f"over {test['episodes']} episodes of {test['dataset']} {test['split']} "
        f"({said}) -> {place}"
    )
