"""A run's best checkpoint on its own test episodes, or on those of another dataset or shape."""

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import episodes
from episodes import Store
from episodes.errors import UsageError
from trainers import catalog, machine, marks, pictures, provenance, report, run_directory
from trainers import learner as learners
from trainers.config import RunConfig, Settings
from trainers.evaluation import Evaluation
from trainers.files import write_whole
from trainers.learner import Learner
from trainers.outer_state import Position, load_weights, read_position
from trainers.progress import Progress
from trainers.report import Figures, FixedEpisodes
from trainers.run import Run, read_config
from trainers.run_directory import RunDirectory


def test(run: Run, directory: RunDirectory, position: Position, progress: Progress) -> Figures:
    """Test the best checkpoint of a trained run; write the pictures and, last, results.json."""
    config, streams = run.config, run.streams
    fixed = FixedEpisodes(run.store, streams.test, config.episodes, config.eval_steps)
    path, iteration = best_checkpoint(directory, position)
    began = time.monotonic()
    evaluation = evaluate(path, directory, config, run.learner, fixed, progress)
    seconds = {"training": position.seconds, "test": time.monotonic() - began}

    test_figures = report.accuracy_figures(evaluation) | fixed.describe()
    iterations, validations = run_directory.read_metrics(directory.metrics)
    branches = catalog.find("lr", config.lr).branches
    rates = {
        "training": report.training_rates(iterations, branches),
        "test": report.test_rates(evaluation, branches),
    }
    validation_figures = None
    if streams.validation is not None:
        validated = FixedEpisodes(
            run.store, streams.validation, config.val_episodes, config.eval_steps
        )
        validation_figures = {"accuracy": position.best[0][0]} | validated.describe()
    results: Figures = {
        "test": test_figures,
        "validation": validation_figures,
        "checkpoint": {"iteration": iteration, "file": str(path.relative_to(directory.path))},
        "rates": rates,
        "warnings": report.warnings(test_figures, rates),
        "marks": marks.figures(run.store.info.marks, run.store.info.marks),
        "splits": {
            "train": streams.training.split,
            "val": streams.validation.split if streams.validation else None,
            "test": streams.test.split,
        },
        "bn": config.bn,
        "seeds": {"training": config.seed, "episodes": config.episode_seed},
        "store": {"name": run.store.name, "digest": run.store.digest},
        "config": config.settings(),
        "versions": provenance.versions(),
        "hardware": provenance.hardware(config.device, config.threads),
        "seconds": seconds,
    }
    write_whole(
        directory.learning_curve, pictures.learning_curve(iterations, validations, test_figures)
    )
    write_whole(directory.rates, pictures.rates(evaluation, config.steps, branches))
    write_whole(directory.results, _as_json(results))
    return results


def evaluate_run(
    path: Path, dataset: str | None, split: str, given: Settings, progress: Progress
) -> tuple[Path, Figures]:
    """Evaluate a run's best checkpoint and write eval-....json into its directory.

    `given` are settings that differ from the run's; `split` is [SCHEME.]PART, with the run's scheme
    on the run's own dataset. Raises UsageError for another way than the head's, and for images that
    the model was not made for.
    """
    directory = run_directory.find(path)
    recorded, tables = read_config(directory)
    store = episodes.open(dataset or recorded.dataset)
    check_fits(path, recorded, tables["store"], store, given)
    if store.name == tables["store"]["name"] and "." not in split:
        split = f"{recorded.split}.{split}"
    config = replace(recorded, **cast(dict[str, Any], given))
    machine.use(config.device, config.threads)
    learner = learners.build(config, store.image_shape)
    stream = store.stream(split, config.way, config.shot, config.query, config.episode_seed)
    fixed = FixedEpisodes(store, stream, config.episodes, config.eval_steps)
    position = read_position(directory.last_checkpoint, directory.advice, recorded)
    best, iteration = best_checkpoint(directory, position)
    trained = marks.trained_on(recorded, tables["store"], store)
    shared = marks.overlap(trained, store, stream.split)
    evaluation = evaluate(best, directory, recorded, learner, fixed, progress)

    test_figures = report.accuracy_figures(evaluation) | fixed.describe()
    branches = catalog.find("lr", config.lr).branches
    rates = {"test": report.test_rates(evaluation, branches)}
    results: Figures = {
        "test": test_figures,
        "run": str(path),
        "checkpoint": {"iteration": iteration, "file": str(best.relative_to(directory.path))},
        "rates": rates,
        "warnings": [
            *marks.warnings(trained, shared, f"{store.name} {stream.split}"),
            *report.warnings(test_figures, rates),
        ],
        "marks": marks.figures(trained.marks, store.info.marks),
        "overlap": shared,
        "bn": config.bn,
        "config": recorded.settings(),
        "versions": provenance.versions(),
        "hardware": provenance.hardware(config.device, config.threads),
    }
    shape = f"{config.way}w{config.shot}s{config.query}q-{config.eval_steps}steps"
    where = f"{store.name}-{store.digest[:8]}-{stream.split}"
    name = f"eval-{where}-{shape}-{config.episodes}episodes"
    written = directory.path / f"{name}-seed{config.episode_seed}.json"
    write_whole(written, _as_json(results))
    return written, results


def check_fits(
    path: Path, recorded: RunConfig, trained_on: Mapping[str, Any], store: Store, given: Settings
) -> None:
    """Raises UsageError unless the model of the run in `path` can classify such episodes."""
    if given.get("way", recorded.way) != recorded.way:
        raise UsageError(
            f"--way {given['way']}: the head of {path} has {recorded.way} outputs, one a class: "
            f"leave --way out, or train a run with --way {given['way']}"
        )
    size = trained_on["image_size"]
    shape = (size, size, trained_on["channels"])
    if store.image_shape != shape:
        raise UsageError(
            f"{path} was trained on {_images(shape)} of {trained_on['name']}, and {store.name} "
            f"holds {_images(store.image_shape)}: choose a dataset of the same size and channels"
        )


def best_checkpoint(directory: RunDirectory, position: Position) -> tuple[Path, int]:
    """The best checkpoint by validation accuracy and its iteration; unvalidated, the last one."""
    if position.best:
        _, iteration = position.best[0]
        return directory.best_checkpoint(iteration), iteration
    return directory.last_checkpoint, position.iteration


def evaluate(
    path: Path,
    directory: RunDirectory,
    config: RunConfig,
    learner: Learner,
    fixed: FixedEpisodes,
    progress: Progress,
) -> Evaluation:
    """The weights of the checkpoint `path` on fixed episodes."""
    params, meta = load_weights(path, directory.advice, config, learner)
    with progress.phase("test", "episode", fixed.episodes) as phase:
        return learner.evaluate(
            params, meta, fixed.stream, fixed.episodes, fixed.steps, phase.update
        )


def _images(shape: tuple[int, int, int]) -> str:
    height, width, channels = shape
    colours = {1: "grey", 3: "colour"}.get(channels, f"{channels}-channel")
    return f"{height}x{width} {colours} images"


def _as_json(figures: Figures) -> bytes:
    return (json.dumps(figures, indent=1) + "\n").encode()
