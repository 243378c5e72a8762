"""Padded tasks, one by one."""

from dataclasses import replace

import torch.nn.functional as F

from trainers.algorithms import Adaptation, TaskResult
from trainers.types import ABSENT, PADDING, Task, each_task


def one_by_one(how: Adaptation, tasks: Task) -> list[tuple[Adaptation, Task]]:
    """Each task of a batch without padding, and how to adapt to it."""
    if not how.padded:
        return [(how, task) for task in each_task(tasks)]
    return [_trimmed(how, task) for task in each_task(tasks)]


def filled_up(result: TaskResult, how: Adaptation, tasks: Task) -> TaskResult:
    """The result of one task with outputs of the batch's shape, those for padding being absent."""
    if not how.padded:
        return result
    outputs = result.outputs
    rows, classes = tasks.query_targets.shape[1] - len(outputs), how.way - outputs.shape[1]
    return result._replace(outputs=F.pad(outputs, (0, classes, 0, rows), value=ABSENT))


def _trimmed(how: Adaptation, task: Task) -> tuple[Adaptation, Task]:
    support, query = task.support_targets != PADDING, task.query_targets != PADDING
    way = int(task.support_targets.max()) + 1
    alone = task._replace(
        support_inputs=task.support_inputs[support],
        support_targets=task.support_targets[support],
        query_inputs=task.query_inputs[query],
        query_targets=task.query_targets[query],
    )
    return replace(how, padded=False, way=way), alone
