"""Runs from end to end: begin one or resume it, train what is left, test its best checkpoint."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch

from episodes.errors import EpisodesError, UsageError
from trainers import config as configuration
from trainers import provenance, run_directory
from trainers.assessment import test
from trainers.config import DEFAULTS, RunConfig, Settings
from trainers.group import Group
from trainers.interrupt import Interrupted
from trainers.outer_state import OuterState
from trainers.presets import PRESETS
from trainers.progress import Progress
from trainers.recorded import check_source, read_config
from trainers.report import Figures
from trainers.run import Run
from trainers.run_directory import RunDirectory, locked
from trainers.sources import Source, open_source
from trainers.tracking import OpenTracker
from trainers.tracking.tracker import figures_of_test, tell_finished
from trainers.training import Training
from trainers.wording import plural

FEWEST_RELATED = 3


def settled(given: Settings, protocol: Path | str | None = None) -> tuple[Source, RunConfig]:
    """The source and the complete settings of the run that the given settings mean.

    They win over those of `protocol`, which is a config.toml or the name of a preset.

    Raises UsageError for settings that do not fit together or the dataset.
    """
    settings: Settings = {}
    tables: dict[str, Any] = {}
    if isinstance(protocol, Path):
        settings, tables = configuration.read_toml(protocol)
    elif protocol is not None:
        settings = dict(PRESETS[protocol].changes)
    settings = configuration.overridden(settings, given)
    dataset = str(settings.get("dataset", DEFAULTS["dataset"]))
    sampler = str(settings.get("sampler", DEFAULTS["sampler"]))
    source = open_source(dataset, sampler)
    if "store" in tables and "dataset" not in given:
        check_source(source, tables["store"], protocol)
    settings["dataset"] = source.dataset
    if "dpp_run" in given:
        settings["dpp_run"] = str(run_directory.find(Path(str(given["dpp_run"]))).path.resolve())
    defaults: Settings = {"split": source.default_scheme, "threads": torch.get_num_threads()}
    return source, configuration.complete(settings, defaults | dict(source.training_defaults))


def begin(
    given: Settings,
    protocol: Path | str | None,
    out: Path | None,
    progress: Progress,
    group: Group,
    open_tracker: OpenTracker | None = None,
) -> tuple[RunDirectory, Figures]:
    """Begin the run that `settled` makes of the given settings, and finish it.

    Of several ranks the first writes, and tells the tracker.

    Raises UsageError, before anything is written, for settings that do not fit together, the
    dataset or the machine; EpisodesError as `finish`.
    """
    source, config = settled(given, protocol)
    run = Run.over(source, config, group)
    directory = group.of_first(lambda: run_directory.create(out, run.name))
    with _locked_by_first(directory, group):
        if group.is_first:
            directory.begin(run.to_toml())
        return directory, finish(run, directory, progress, open_tracker)


def resume(
    path: Path,
    given: Settings,
    progress: Progress,
    group: Group,
    open_tracker: OpenTracker | None = None,
) -> tuple[RunDirectory, Figures]:
    """Continue the run in `path`, or report it where it is finished.

    Raises UsageError where a given setting is not the recorded one; EpisodesError for another
    store, and as `finish`.
    """
    directory = run_directory.find(path)
    with _locked_by_first(directory, group):
        config, tables = read_config(directory)
        if Path(str(given.get("dataset", ""))).resolve() == Path(config.dataset):
            given = {**given, "dataset": config.dataset}
        if changed := configuration.differences(config, given):
            raise UsageError(
                f"a resumed run keeps its settings, found {'; '.join(changed)}: "
                "leave out these flags, or begin a new run"
            )
        if directory.results.exists():
            progress.note(f"{path} is finished")
            results = directory.read_results()
            if open_tracker is not None and group.is_first:
                tell_finished(open_tracker(directory, config), directory, results)
            return directory, results
        source = open_source(config.dataset, config.sampler)
        check_source(source, tables["store"], directory.config)
        if tables["versions"] != provenance.versions():
            progress.note(
                f"the versions differ from those in {directory.config}: so may the numbers"
            )
        run = Run.over(source, config, group)
        return directory, finish(run, directory, progress, open_tracker)


def finish(
    run: Run,
    directory: RunDirectory,
    progress: Progress,
    open_tracker: OpenTracker | None = None,
) -> Figures:
    """Train what is left, test the best checkpoint, write pictures and results.json.

    Raises Interrupted, with the command that continues, after Ctrl-C; EpisodesError where the
    training diverges, a checkpoint is damaged, or the disk refuses.
    """
    config = run.config
    progress.note(
        f"{directory.path}: {config.algo} with {config.lr} rates on {run.source.name} "
        f"{config.split}, {config.shape}, {config.iterations} "
        f"{plural('iteration', config.iterations)}"
    )
    if run.streams.validation is None:
        why = (
            f"{run.source.name} {config.split} has no validation tasks"
            if config.val_episodes
            else "--val-episodes 0"
        )
        progress.note(f"{why}: the last checkpoint is the one tested")
    if config.regularizer != "none" and config.meta_batch_size < FEWEST_RELATED:
        progress.note(
            f"--meta-batch-size {config.meta_batch_size}: a task alone has no peers, and of two "
            f"the relation cancels; TRLearner's relations learn from {FEWEST_RELATED} tasks on"
        )
    sampling, group = run.sampling, run.group
    state = OuterState(config, run.learner, sampling.sampler if sampling else None)
    if directory.last_checkpoint.exists():
        state.load(directory.last_checkpoint, directory.advice)
        progress.note(f"continues after iteration {state.position.iteration}")
    elif _has_begun(directory):
        raise EpisodesError(f"{directory.last_checkpoint} is missing: {directory.advice}")
    tracker = open_tracker(directory, config) if open_tracker and group.is_first else None
    group.wait()  # All have read the checkpoint before the first rank writes another.
    try:
        with progress.interrupt.noted():
            Training(
                directory, state, run.learner, run.streams, progress, sampling, group, tracker
            ).train()
            results = test(run, directory, state.position, progress)
    except Interrupted:
        raise Interrupted(
            f"interrupted at iteration {state.position.iteration}: "
            f"continue with `trainers run --resume {directory.path}`"
        ) from None
    if tracker is not None:
        tracker.finish(figures_of_test(results))
    return results


def _locked_by_first(directory: RunDirectory, group: Group) -> AbstractContextManager[None]:
    return locked(directory) if group.is_first else nullcontext()


def _has_begun(directory: RunDirectory) -> bool:
    metrics, checkpoints = directory.metrics, directory.checkpoints
    if metrics.exists() and metrics.stat().st_size:
        return True
    return checkpoints.is_dir() and any(checkpoints.glob("iteration-*"))
