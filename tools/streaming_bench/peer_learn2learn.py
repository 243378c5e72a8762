"""learn2learn: its mini-ImageNet dataset and task transforms, as its benchmarks use them."""

import importlib
from collections.abc import Iterator
from pathlib import Path

from streaming_bench.task import Delivery, Feed, Task

learn2learn = importlib.import_module("learn2learn")


def default(task: Task, files: Path) -> Feed:
    """NWays and KShots, which `mini_imagenet_tasksets` uses."""
    return _feed(task, files, fused=False)


def fused(task: Task, files: Path) -> Feed:
    """FusedNWaysKShots in their place."""
    return _feed(task, files, fused=True)


def _feed(task: Task, files: Path, fused: bool) -> Feed:
    data, of = learn2learn.data, learn2learn.data.transforms
    dataset = data.MetaDataset(
        learn2learn.vision.datasets.MiniImagenet(root=str(files), mode="train")
    )
    images = task.shot + task.query
    sampling = (
        [of.FusedNWaysKShots(dataset, n=task.way, k=images)]
        if fused
        else [of.NWays(dataset, task.way), of.KShots(dataset, images)]
    )
    loading = [of.LoadData(dataset), of.RemapLabels(dataset), of.ConsecutiveLabels(dataset)]
    tasks = data.TaskDataset(dataset, task_transforms=sampling + loading, num_tasks=-1)

    def feed() -> Iterator[Delivery]:
        while True:
            pixels, _ = tasks.sample()
            yield (pixels,)

    return feed
