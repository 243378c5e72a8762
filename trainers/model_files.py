"""Model files: a run's weights, settings and card in a folder, and models read from either."""

import json
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from episodes import manifest
from episodes.archive import file_sha256
from episodes.errors import EpisodesError, UsageError, some_of
from episodes.sampling import VariableSpec
from episodes.sealed import read_sealed, sealed
from episodes.store.placing import built_beside
from trainers import checkpoint as checkpoints
from trainers import config as configuration
from trainers import learner as learners
from trainers import run_directory
from trainers.config import DEFAULTS, RunConfig
from trainers.files import write_whole, writing
from trainers.learner import Learner
from trainers.model import Model, ModelFacts
from trainers.model_card import card
from trainers.outer_state import (
    Position,
    load_weights,
    named,
    read_position,
    weights_among,
)
from trainers.recorded import best_checkpoint, read_config
from trainers.run_directory import MAKE_A_RUN, RunDirectory
from trainers.sources import USUAL_RESIZE

FORMAT = "trainers-model/1"
CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "card.md"
BEST, LAST = "best", "last"
OF_THE_MACHINE = (
    "task_batching",
    "compile",
    "cuda_graph",
    "inner_graph",
    "blocks",
    "precision",
)
"""Settings of how a run was computed; a model is computed as is usual where it is loaded."""


def load(path: str | Path, device: str = "cpu") -> Model:
    """The model in a folder that `trainers export` wrote, or a run's best checkpoint.

    Warns of a run that is not finished. Raises EpisodesError where the folder is incomplete,
    damaged, or of another version.
    """
    model = read(Path(path), device)
    for note in model.notes:
        warnings.warn(note, stacklevel=2)
    return model


def read(path: Path, device: str = "cpu") -> Model:
    """As `load`, with what it would warn of in the model's `notes`."""
    if RunDirectory(path).config.exists():
        return model_of_run(path, device=device)
    return _exported(path, device)


def model_of_run(path: Path, checkpoint: str = BEST, device: str = "cpu") -> Model:
    """The model of a run's checkpoint: the best by validation, the last, or that of an iteration.

    Raises UsageError where the run keeps no such checkpoint; EpisodesError for a damaged one.
    """
    directory = run_directory.find(path)
    config, tables = read_config(directory)
    position = read_position(directory.last_checkpoint, directory.advice, config)
    file, iteration = _chosen(directory, position, checkpoint)
    facts = _facts(config, tables, iteration, _results_of(directory, iteration))
    learner = _learner(facts, device)
    weights = load_weights(file, directory.advice, config, learner)
    return Model(facts, learner, *weights, _unfinished(directory, config, position, iteration))


def _unfinished(
    directory: RunDirectory, config: RunConfig, position: Position, iteration: int
) -> tuple[str, ...]:
    """The note on a run whose checkpoint of this iteration is used before the run is finished."""
    if directory.results.exists():
        return ()
    is_last = iteration == position.iteration
    used = "its last checkpoint" if is_last else f"its checkpoint of iteration {iteration:,}"
    return (
        f"{directory.path} is not finished (iteration {position.iteration:,} of "
        f"{config.iterations:,}): {used} is used",
    )


def export(
    path: Path, out: Path | None = None, checkpoint: str = BEST
) -> tuple[Path, tuple[str, ...]]:
    """Write the model of a run to the folder `out` (default: `model` in the run's), whole or not at
    all; the folder, and the notes on the model.

    It holds model.safetensors, config.json and card.md. The settings name the dataset, and no path
    of this machine. Raises UsageError where the folder is there already, and as `model_of_run`.
    """
    target = out or path / "model"
    if target.exists():
        raise UsageError(f"{target} is there already: remove it, or choose another --out")
    model = model_of_run(path, checkpoint)
    facts = replace(model.facts, config=_without_paths(model.facts))
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with built_beside(target) as folder:
            checkpoints.save(folder / WEIGHTS, named(model.params, model.meta), {})
            described = _as_json(facts, file_sha256(folder / WEIGHTS))
            write_whole(folder / CARD, card(facts, target.name).encode())
            write_whole(folder / CONFIG, (json.dumps(described, indent=1) + "\n").encode())
    return target, model.notes


def _exported(path: Path, device: str) -> Model:
    make_one = f"{MAKE_A_RUN}, or `trainers export RUN --out DIR`"
    if not path.is_dir():
        raise UsageError(
            f"{path}: no such directory; expected a run, or an exported model: {make_one}"
        )
    if not (path / CONFIG).exists():
        raise UsageError(
            f"{path} is neither a run (no config.toml in it) nor an exported model (no {CONFIG}): "
            + make_one
        )
    again = f"export it again with `trainers export RUN --out {path}`"
    values = read_sealed(path / CONFIG, "model", FORMAT, again)
    try:
        sha256 = values.pop("weights_sha256")
        facts = _parsed(values)
        learner = _learner(facts, device)
    except (UsageError, KeyError, TypeError) as error:
        raise EpisodesError(
            f"{path / CONFIG} is not of this version of fewshot-episodes ({error}): {again}"
        ) from None
    tensors, _ = checkpoints.load(path / WEIGHTS, again)
    if file_sha256(path / WEIGHTS) != sha256:
        raise EpisodesError(f"{path / WEIGHTS} is of another model than {CONFIG}: {again}")
    weights = weights_among(tensors, path / WEIGHTS, facts.config.seed, learner)
    return Model(facts, learner, *weights)


def _learner(facts: ModelFacts, device: str) -> Learner:
    usual = {name: DEFAULTS[name] for name in OF_THE_MACHINE}
    return learners.build(replace(facts.config, device=device, **cast(Any, usual)), facts)


def _chosen(directory: RunDirectory, position: Position, checkpoint: str) -> tuple[Path, int]:
    if checkpoint == BEST:
        return best_checkpoint(directory, position)
    if checkpoint in (LAST, str(position.iteration)):
        return directory.last_checkpoint, position.iteration
    kept = sorted(iteration for _, iteration in position.best)
    if checkpoint not in map(str, kept):
        raise UsageError(
            f"{directory.path} keeps no checkpoint {checkpoint!r}: choose {BEST}, {LAST} or an "
            f"iteration of {some_of(map(str, [*kept, position.iteration]))}"
        )
    return directory.best_checkpoint(int(checkpoint)), int(checkpoint)


def _facts(
    config: RunConfig,
    tables: Mapping[str, Mapping[str, Any]],
    iteration: int,
    results: Mapping[str, Any] | None,
) -> ModelFacts:
    trained_on = tables["store"]
    shipped = _shipped(trained_on)
    if "image_size" in trained_on:
        size = trained_on["image_size"]
        input_shape: tuple[int, ...] = (trained_on["channels"], size, size)
        outputs = config.way or config.train_way or VariableSpec().most_ways
    else:
        input_shape = tuple(map(int, trained_on["input_shape"].split("x")))
        outputs = trained_on["outputs"]
    return ModelFacts(
        config=config,
        input_shape=input_shape,
        network_outputs=outputs,
        resize=trained_on.get("resize", shipped.image.resize if shipped else USUAL_RESIZE),
        licence=trained_on.get("licence", shipped.licence if shipped else ""),
        iteration=iteration,
        trained_on=trained_on,
        versions=tables["versions"],
        results=results,
    )


def _shipped(trained_on: Mapping[str, Any]) -> manifest.Manifest | None:
    """The manifest of the dataset of a run that did not yet record resize method and licence."""
    dataset = trained_on.get("dataset_name")
    return manifest.load(dataset) if dataset in manifest.names() else None


def _results_of(directory: RunDirectory, iteration: int) -> Mapping[str, Any] | None:
    """The run's results, where it is finished and these are the weights that were tested."""
    if not directory.results.exists():
        return None
    results = directory.read_results()
    if results["checkpoint"]["iteration"] != iteration:
        return None
    return {name: results[name] for name in ("test", "validation", "warnings", "marks", "bn")}


def _without_paths(facts: ModelFacts) -> RunConfig:
    config = facts.config
    name = str(facts.trained_on["name"]).replace("+", ",")
    dataset = Path(config.dataset).name if facts.is_regression else name
    own = dict(config.own)
    if "dpp_run" in own:
        own["dpp_run"] = Path(str(own["dpp_run"])).name
    return replace(config, dataset=dataset, own=own)


def _as_json(facts: ModelFacts, weights_sha256: str) -> dict[str, Any]:
    fields = {name: value for name, value in vars(facts).items() if name != "config"}
    settings = facts.config.settings()
    return sealed(
        {"format": FORMAT, "settings": settings, **fields, "weights_sha256": weights_sha256}
    )


def _parsed(values: Mapping[str, Any]) -> ModelFacts:
    fields = {name: values[name] for name in values.keys() - {"format", "settings"}}
    fields["input_shape"] = tuple(values["input_shape"])
    return ModelFacts(config=configuration.complete(values["settings"], {}), **fields)
