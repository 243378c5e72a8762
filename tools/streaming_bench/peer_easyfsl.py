"""easyfsl: EasySet over image folders, TaskSampler and PyTorch's DataLoader."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from streaming_bench.shims import samplers_take_any_argument
from streaming_bench.task import Delivery, Feed, Task

easyfsl = importlib.import_module("easyfsl.samplers")
datasets = importlib.import_module("easyfsl.datasets")
ENDLESS = 1 << 30


def default(task: Task, files: Path, workers: int = 0) -> Feed:
    """With its own transform, which resizes, crops and normalises."""
    return _feed(task, datasets.EasySet(files / "classes.json", training=False), workers)


def uint8(task: Task, files: Path, workers: int = 0) -> Feed:
    """With PILToTensor as transform: the pixels as they are."""
    from torchvision.transforms import PILToTensor

    dataset = datasets.EasySet(files / "classes.json", transform=PILToTensor())
    return _feed(task, dataset, workers)


def _feed(task: Task, dataset: Any, workers: int) -> Feed:
    from torch.utils.data import DataLoader

    samplers_take_any_argument()
    sampler = easyfsl.TaskSampler(dataset, task.way, task.shot, task.query, ENDLESS)

    def feed() -> Iterator[Delivery]:
        for support, _, query, _, _ in DataLoader(
            dataset,
            batch_sampler=sampler,
            num_workers=workers,
            collate_fn=sampler.episodic_collate_fn,
        ):
            yield support, query

    return feed
