"""Draws what regularizer and sampler made of a run's training tasks."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch

from episodes.episode_stream import EpisodeStream
from trainers import task_pictures
from trainers.files import write_whole
from trainers.learner import Learner
from trainers.run import Run
from trainers.run_directory import RunDirectory
from trainers.task_sampling import SampledStream
from trainers.types import Params

TASKS_RELATED = 8


def draw(
    run: Run, directory: RunDirectory, params: Params, iterations: Sequence[Mapping[str, Any]]
) -> None:
    """Write the pictures, into the run's directory, that its regularizer and sampler ask for.

    `params` are the weights tested, `iterations` the records of metrics.jsonl.
    """
    stream = run.streams.training
    if run.learner.regularizer is not None:
        relations, names = related(run.learner, params, stream, run.config.seed)
        picture = task_pictures.relation_map(relations.numpy(), names)
        write_whole(directory.path / "relations.png", picture)
    if tasks := [task for record in iterations for task in record.get("tasks", [])]:
        uniform = cast(SampledStream, stream).identities(0, len(tasks))
        picture = task_pictures.variety(np.array(tasks), uniform, run.config.meta_batch_size)
        write_whole(directory.path / "sampled_tasks.png", picture)
    sampled = [record for record in iterations if "task_weights" in record]
    if not sampled:
        return
    write_whole(directory.path / "task_weights.png", task_pictures.task_weights(sampled))
    if isinstance(stream, EpisodeStream):
        both = task_pictures.extreme_episodes(sampled)
        for name, indices in zip(("heaviest", "lightest"), both, strict=True):
            sheets = task_pictures.contact_sheets(stream, indices)
            write_whole(directory.path / f"{name}_episodes.png", sheets)


def related(
    learner: Learner, params: Params, stream: Any, seed: int
) -> tuple[torch.Tensor, list[list[str]]]:
    """The relations `[8, 8]` of the first training tasks, under these weights, and the names of
    their classes."""
    regularizer = learner.regularizer
    assert regularizer is not None
    batch = stream.batch(0, TASKS_RELATED)
    with torch.no_grad():
        relations = regularizer.relations(
            learner.algorithm,
            learner.training,
            params,
            learner.tasks(batch, seed),
            torch.arange(TASKS_RELATED),
        )
    if not isinstance(stream, EpisodeStream):
        return relations.cpu(), [[f"function {number}"] for number in range(TASKS_RELATED)]
    names = stream.stores[0].class_names
    return relations.cpu(), [[names[class_id] for class_id in ids] for ids in batch.class_ids]
