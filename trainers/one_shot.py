"""`trainers one-shot`: a model's error rate on Lake's 20-way one-shot classification runs."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from episodes import manifest, overlaps
from episodes.errors import UsageError
from trainers import lake_runs, marks, provenance
from trainers.files import write_whole
from trainers.lake_runs import CHARACTERS, OneShotRun
from trainers.model import Model, ModelFacts
from trainers.model_files import read
from trainers.tasks.metrics import confidence_interval

DATASET, EVALUATION_SET = "omniglot", "lake.test"
"""The runs' characters are of Omniglot's evaluation set, which they do not name."""


def evaluate_on_runs(
    path: Path,
    runs_path: Path,
    steps: int | None = None,
    bn: str | None = None,
    allow_overlap: bool = False,
) -> dict[str, Any]:
    """Classify each run's test images by the model in `path`, a run or an export, adapted to its
    training images; the figures, which are also written into `path`.

    Accuracy and error are shares of the 400 test images, the interval is over the 20 runs. Raises
    UsageError for a model of regression or of fewer classes, and, without `allow_overlap`, for one
    that was trained on characters of the evaluation set; EpisodesError as `lake_runs.read_runs`.
    """
    model = read(path)
    if model.facts.is_regression:
        raise UsageError(f"{path} predicts values, no classes: give a run that classifies images")
    overlap, warnings = _trained_on_evaluation_set(model.facts)
    if overlap is not None and overlap["classes"] and not allow_overlap:
        raise UsageError(
            f"{warnings[0]}; the runs are drawn from these: train with --split lake, or add "
            "--allow-overlap"
        )
    runs = lake_runs.read_runs(runs_path)
    found = [_classified(model, run, steps, bn) for run in runs]
    right, notes = [hits for hits, _ in found], [*model.notes, *found[0][1]]
    accuracies = np.array(right) / CHARACTERS
    fingerprint = lake_runs.fingerprint(runs)
    if fingerprint != lake_runs.PUBLISHED:
        warnings = [*warnings, f"the runs in {runs_path} are not those that Lake published"]
    config = model.facts.config
    mode, count = bn or config.bn, config.eval_steps if steps is None else steps
    written = path / f"one-shot-{fingerprint[:8]}-{count}steps-{mode}.json"
    results = {
        "accuracy": float(accuracies.mean()),
        "interval": confidence_interval(accuracies),
        "error": 1 - float(accuracies.mean()),
        "right": sum(right),
        "trials": CHARACTERS * len(runs),
        "runs": {run.name: hits / CHARACTERS for run, hits in zip(runs, right, strict=True)},
        "fingerprint": fingerprint,
        "steps": count,
        "bn": mode,
        "model": str(path),
        "iteration": model.facts.iteration,
        "overlap": overlap,
        "warnings": warnings,
        "notes": notes,
        "config": config.settings(),
        "versions": provenance.versions(),
        "file": str(written),
    }
    write_whole(written, (json.dumps(results, indent=1) + "\n").encode())
    return results


def _classified(
    model: Model, run: OneShotRun, steps: int | None, bn: str | None
) -> tuple[int, list[str]]:
    """How many of a run's test images are classified rightly, and notes on how."""
    adapted = model.adapt(run.support, np.arange(CHARACTERS), steps, bn)
    hits = int(np.count_nonzero(adapted.predict(run.query) == run.labels))
    return hits, adapted.notes(len(run.query))


def _trained_on_evaluation_set(facts: ModelFacts) -> tuple[dict[str, Any] | None, list[str]]:
    """The overlap of training with Omniglot's evaluation set, and what to say of it."""
    trained = marks.trained_on(facts.config, facts.trained_on, ())
    evaluation = overlaps.of_manifest(manifest.load(DATASET), EVALUATION_SET)
    shared = marks.shared(trained, [evaluation])
    return shared, marks.warnings(trained, shared, f"{DATASET} {EVALUATION_SET}")
