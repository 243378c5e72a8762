"""LibFewShot, from a folder of its source on PYTHONPATH: GeneralDataset and CategoriesSampler."""

import importlib
from collections.abc import Iterator
from pathlib import Path

from streaming_bench.shims import collections_have_abcs, samplers_take_any_argument
from streaming_bench.task import Delivery, Feed, Task

collections_have_abcs()
datasets = importlib.import_module("core.data.dataset")
samplers = importlib.import_module("core.data.samplers")
ENDLESS = 1 << 30


def files(task: Task, files: Path, workers: int = 0) -> Feed:
    """Images decoded when they are read, as uint8."""
    return _feed(task, files, False, workers)


def memory(task: Task, files: Path, workers: int = 0) -> Feed:
    """Its cache of decoded images, as uint8."""
    return _feed(task, files, True, workers)


def _feed(task: Task, folder: Path, use_memory: bool, workers: int) -> Feed:
    from torch.utils.data import DataLoader
    from torchvision.transforms import PILToTensor

    samplers_take_any_argument()
    dataset = datasets.GeneralDataset(
        data_root=str(folder), mode="train", use_memory=use_memory, trfms=PILToTensor()
    )
    sampler = samplers.CategoriesSampler(
        label_list=dataset.label_list,
        label_num=dataset.label_num,
        episode_size=1,
        episode_num=ENDLESS,
        way_num=task.way,
        image_num=task.shot + task.query,
    )

    def feed() -> Iterator[Delivery]:
        for images, _ in DataLoader(dataset, batch_sampler=sampler, num_workers=workers):
            yield (images,)

    return feed
