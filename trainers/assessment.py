"""A run's best checkpoint on its own test episodes, or on those of another dataset or shape."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from episodes.errors import UsageError
from trainers import (
    catalog,
    combinations,
    machine,
    marks,
    pictures,
    provenance,
    report,
    run_directory,
    seen_tasks,
    several_checkpoints,
)
from trainers import learner as learners
from trainers.comparison import TestFigures
from trainers.config import RunConfig, Settings
from trainers.evaluation import Evaluation
from trainers.files import write_whole
from trainers.group import Group
from trainers.learner import Learner
from trainers.outer_state import Position, load_weights, read_position
from trainers.progress import Progress
from trainers.recorded import best_checkpoint, read_config
from trainers.report import Figures, FixedEpisodes
from trainers.run import Run
from trainers.run_directory import RunDirectory
from trainers.sources import Source, TaskStream, open_source
from trainers.types import Params


def test(run: Run, directory: RunDirectory, position: Position, progress: Progress) -> Figures:
    """Test the best checkpoint of a trained run; write the pictures and, last, results.json.

    Of several ranks the first writes; the others get nothing.
    """
    config, streams = run.config, run.streams
    fixed = fixed_episodes(config, run.source, streams.test)
    path, iteration = best_checkpoint(directory, position)
    began = time.monotonic()
    run.group.wait()  # Until the first rank has written the checkpoint.
    weights = load_weights(path, directory.advice, config, run.learner)
    evaluation = evaluate(*weights, run.learner, fixed, progress, run.group)
    seconds = {"training": position.seconds, "test": time.monotonic() - began}

    if not run.group.is_first:
        return {}
    metric = run.learner.metric
    test_figures = report.metric_figures(metric, evaluation) | fixed.describe()
    iterations, validations = run_directory.read_metrics(directory.metrics)
    branches = catalog.find("lr", config.lr).branches
    rates = {
        "training": report.training_rates(iterations, branches),
        "test": report.test_rates(evaluation, branches),
    }
    validation_figures = None
    if streams.validation is not None:
        validated = replace(
            fixed_episodes(config, run.source, streams.validation), episodes=config.val_episodes
        )
        validation_figures = {metric.name: position.best[0][0]} | validated.describe()
    results: Figures = {
        "test": test_figures,
        "validation": validation_figures,
        "checkpoint": {"iteration": iteration, "file": str(path.relative_to(directory.path))},
        "rates": rates,
        "skipped": position.skipped,
        "warnings": report.warnings(test_figures, rates, position.skipped),
        "marks": marks.figures(run.source.marks, run.source.marks),
        "splits": {
            "train": streams.training.split,
            "val": streams.validation.split if streams.validation else None,
            "test": streams.test.split,
        },
        "bn": config.bn,
        "seeds": {"training": config.seed, "episodes": config.episode_seed},
        "store": {"name": run.source.name, "digest": run.source.digest},
        "config": config.settings(),
        "versions": provenance.versions(),
        "hardware": provenance.hardware(config.device, config.threads),
        "seconds": seconds,
    }
    each = TestFigures(metric, test_figures["fingerprint"], evaluation.figures)
    write_whole(directory.test_figures, each.to_json())
    write_whole(
        directory.learning_curve,
        pictures.learning_curve(metric, iterations, validations, test_figures),
    )
    if evaluation.rates.size:
        names = run.learner.adapted_names()
        picture = pictures.rates(evaluation, config.steps, branches, names)
        write_whole(directory.rates, picture)
    seen_tasks.draw(run, directory, weights[0], iterations)
    write_whole(directory.results, _as_json(results))
    return results


def evaluate_run(
    path: Path,
    dataset: str | None,
    split: str,
    given: Settings,
    progress: Progress,
    reuse: bool = False,
    allow_overlap: bool = False,
    checkpoints: str = "best",
) -> tuple[Path, Figures]:
    """Evaluate a run's best checkpoint and write eval-....json into its directory.

    `given` are settings that differ from the run's; `split` is [SCHEME.]PART, with the run's scheme
    on the run's own dataset. Other `checkpoints` than the best are those of
    `several_checkpoints.CHOICES`, and are named in the results. With `reuse` an evaluation that is
    there already is returned. Raises UsageError for another way than the head's, for images that
    the model was not made for, and, without `allow_overlap`, for classes that the run was trained
    on.
    """
    directory = run_directory.find(path)
    recorded, tables = read_config(directory)
    channels = tables["store"].get("channels")
    source = open_source(dataset or recorded.dataset, recorded.sampler, channels)
    check_fits(path, recorded, tables["store"], source, given)
    if source.name == tables["store"]["name"] and "." not in split:
        split = f"{recorded.split}.{split}"
    config = replace(recorded, **cast(dict[str, Any], given))
    machine.use(config.device, config.threads, config.precision)
    learner = learners.build(recorded, source, config)
    stream = source.stream(split, config.shape, config.episode_seed)
    found = what_to_know(recorded, tables["store"], source, stream.split)
    if not allow_overlap:
        _refuse_overlap(found)
    fixed = fixed_episodes(config, source, stream)
    position = read_position(directory.last_checkpoint, directory.advice, recorded)
    chosen = [best_checkpoint(directory, position)]
    if checkpoints != "best":
        chosen = several_checkpoints.ranked(directory, position, checkpoints)
    checkpoint = _described(checkpoints, chosen, directory)
    written = directory.path / _evaluation_name(source, stream.split, config, checkpoints)
    described = fixed.describe()
    if reuse and (earlier := _earlier(written, checkpoint, described)) is not None:
        return written, earlier
    weights = [load_weights(each, directory.advice, recorded, learner) for each, _ in chosen]
    if checkpoints == "top5-ensemble":
        ensemble = several_checkpoints.ensemble(learner, weights)
        evaluation = evaluate(*weights[0], ensemble, fixed, progress)
    else:
        each_alone = [evaluate(*own, learner, fixed, progress) for own in weights]
        evaluation = several_checkpoints.mean_of(each_alone)

    test_figures = report.metric_figures(learner.metric, evaluation) | described
    branches = catalog.find("lr", config.lr).branches
    rates = {"test": report.test_rates(evaluation, branches)}
    results: Figures = {
        "test": test_figures,
        "run": str(path),
        "checkpoint": checkpoint,
        "rates": rates,
        "warnings": [
            *found.pop("warnings"),
            *report.warnings(test_figures, rates),
        ],
        **found,
        "bn": config.bn,
        "config": recorded.settings(),
        "versions": provenance.versions(),
        "hardware": provenance.hardware(config.device, config.threads),
    }
    write_whole(written, _as_json(results))
    return written, results


def _described(
    checkpoints: str, chosen: Sequence[tuple[Path, int]], directory: RunDirectory
) -> Figures:
    files = [str(path.relative_to(directory.path)) for path, _ in chosen]
    iterations = [iteration for _, iteration in chosen]
    if checkpoints == "best":
        return {"iteration": iterations[0], "file": files[0]}
    return {"choice": checkpoints, "iterations": iterations, "files": files}


def _evaluation_name(source: Source, split: str, config: RunConfig, checkpoints: str) -> str:
    """The file of an evaluation, which says what was evaluated on."""
    parts = zip(config.shape, "wsq", strict=True)
    counts = "".join(f"{n}{letter}" for n, letter in parts if n is not None) or "variable"
    where = f"{source.name}-{source.digest[:8]}-{split}"
    name = f"eval-{where}-{counts}-{config.eval_steps}steps-{config.episodes}episodes"
    which = "" if checkpoints == "best" else f"-{checkpoints}"
    return f"{name}-seed{config.episode_seed}{which}.json"


def _earlier(written: Path, checkpoint: Figures, tested_on: Figures) -> Figures | None:
    """What an earlier evaluation of this checkpoint on these episodes wrote, if there was one."""
    try:
        found: Figures = json.loads(written.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    is_of_these = found.get("test", {}).get("fingerprint") == tested_on["fingerprint"]
    return found if is_of_these and found.get("checkpoint") == checkpoint else None


def check_fits(
    run: object, recorded: RunConfig, trained_on: Mapping[str, Any], source: Source, given: Settings
) -> None:
    """Raises UsageError unless the model of `run`, as messages call it, can take such tasks."""
    if catalog.is_regression(recorded.dataset) != source.is_regression:
        kinds = {True: "regression tasks", False: "classes"}
        raise UsageError(
            f"{run} was trained on {kinds[not source.is_regression]}, {source.name} has "
            f"{kinds[source.is_regression]}: choose another --dataset"
        )
    why = combinations.one_way(recorded)
    if given.get("way", recorded.way) != recorded.way and why is not None:
        reason, remedy = why
        raise UsageError(
            f"--way {given['way']}: {run} was trained with --way {recorded.train_way}, and "
            f"{reason}: leave --way out, or train a run with --way {given['way']}"
            + (f" or {remedy}" if remedy else "")
        )
    if source.is_regression:
        found = source.recorded()
        for name in {"input_shape", "outputs"} & trained_on.keys():
            if found[name] != trained_on[name]:
                raise UsageError(
                    f"{run} was trained on tasks of {name} {trained_on[name]}, {source.name} has "
                    f"{name} {found[name]}: choose another --dataset"
                )
        return
    size = trained_on["image_size"]
    shape = (trained_on["channels"], size, size)
    if source.input_shape != shape:
        raise UsageError(
            f"{run} was trained on {_images(shape)} of {trained_on['name']}, and {source.name} "
            f"holds {_images(source.input_shape)}: choose a dataset of the same size and channels"
        )


def evaluate(
    params: Params,
    meta: Params,
    learner: Learner,
    fixed: FixedEpisodes,
    progress: Progress,
    group: Group | None = None,
) -> Evaluation:
    """These weights and meta-parameters on fixed episodes, shared out among the ranks."""
    with progress.phase("test", "episode", fixed.episodes) as phase:
        return learner.evaluate(params, meta, fixed.stream, fixed.episodes, phase.update, group)


def fixed_episodes(config: RunConfig, source: Source, stream: TaskStream) -> FixedEpisodes:
    """The test tasks of these settings."""
    return FixedEpisodes(source, stream, config.shape, config.episodes, config.eval_steps)


def what_to_know(
    recorded: RunConfig, trained_on: Mapping[str, Any], source: Source, split: str
) -> Figures:
    """Marks, classes trained on, and the warnings that follow; of regression there are none."""
    stores = source.stores
    if not stores:
        return {"warnings": [], "marks": marks.figures((), ())}
    trained = marks.trained_on(recorded, trained_on, stores)
    shared = marks.overlap(trained, stores, split)
    return {
        "warnings": marks.warnings(trained, shared, f"{source.name} {split}"),
        "marks": marks.figures(trained.marks, source.marks),
        "overlap": shared,
    }


def _refuse_overlap(found: Figures) -> None:
    """Raises UsageError where the classes to be tested on were trained on."""
    if (found.get("overlap") or {}).get("classes"):
        raise UsageError(
            f"{found['warnings'][0]}; choose another --dataset or --split, or add --allow-overlap"
        )


def _images(shape: tuple[int, ...]) -> str:
    channels, height, width = shape
    colours = {1: "grey", 3: "colour"}.get(channels, f"{channels}-channel")
    return f"{height}x{width} {colours} images"


def _as_json(figures: Figures) -> bytes:
    return (json.dumps(figures, indent=1) + "\n").encode()
