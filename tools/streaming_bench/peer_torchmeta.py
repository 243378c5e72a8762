"""torchmeta: its miniImageNet helper and BatchMetaDataLoader."""

import importlib
from collections.abc import Iterator
from pathlib import Path

from streaming_bench.shims import old_names_of_torchvision, reads_several
from streaming_bench.task import Delivery, Feed, Task

old_names_of_torchvision()
helpers = importlib.import_module("torchmeta.datasets.helpers")
data = importlib.import_module("torchmeta.utils.data")


def default(task: Task, files: Path, workers: int = 0) -> Feed:
    """The helper with its defaults: ToTensor, a shuffled split of each class."""
    reads_several(data.SubsetTask)
    dataset = helpers.miniimagenet(
        str(files), task.shot, task.way, test_shots=task.query, meta_train=True
    )

    def feed() -> Iterator[Delivery]:
        for batch in data.BatchMetaDataLoader(dataset, batch_size=1, num_workers=workers):
            yield batch["train"][0], batch["test"][0]

    return feed
