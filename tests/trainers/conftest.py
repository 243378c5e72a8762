"""A tiny network, random tasks, the same network out of torch.nn modules, and tiny stores."""

from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from torch import nn

from episodes.store.digest import ContentDigest
from episodes.store.layout import StoreInfo, write_info
from episodes.store.shards import writer
from trainers.backbones import Conv4
from trainers.cli import main
from trainers.types import Params, Task


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Tiny tensors gain nothing from threads, and lose much where other processes run."""
    torch.set_num_threads(1)


@pytest.fixture
def backbone() -> Conv4:
    return Conv4(way=2, in_channels=1, image_size=16, filters=4)


@pytest.fixture
def initial() -> Callable[..., Params]:
    """Initial weights away from the symmetric start (scale 1, offset 0), as float64 leaves."""

    def draw(backbone: Conv4, seed: int = 0) -> Params:
        generator = torch.Generator().manual_seed(seed)
        return {
            name: (param.double() + 0.1 * torch.randn(param.shape, generator=generator))
            .detach()
            .requires_grad_()
            for name, param in backbone.init(generator).items()
        }

    return draw


@pytest.fixture
def random_task() -> Callable[..., Task]:
    def draw(
        backbone: Conv4, seed: int = 0, shot: int = 2, query: int = 3, dtype=torch.float64
    ) -> Task:
        generator = torch.Generator().manual_seed(seed)
        classes = torch.arange(backbone.way)

        def images(per_class: int) -> torch.Tensor:
            shape = (backbone.way * per_class, backbone.in_channels)
            size = (backbone.image_size, backbone.image_size)
            return torch.rand(*shape, *size, generator=generator, dtype=dtype)

        return Task(
            images(shot),
            classes.repeat_interleave(shot),
            images(query),
            classes.repeat_interleave(query),
        )

    return draw


@pytest.fixture
def sequential() -> Callable[..., nn.Sequential]:
    """The backbone as torch.nn modules; its parameters come in the order of `Conv4.init`."""

    def build(backbone: Conv4, params: Params | None = None, momentum: float = 1.0):
        stride, pool = (
            (2, nn.Identity()) if backbone.downsample == "stride" else (1, nn.MaxPool2d(2))
        )
        channels = [backbone.in_channels] + 4 * [backbone.filters]
        blocks = [
            nn.Sequential(
                nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1),
                nn.BatchNorm2d(outputs, momentum=momentum),
                nn.ReLU(),
                pool,
            )
            for inputs, outputs in pairwise(channels)
        ]
        last = nn.AdaptiveAvgPool2d(1) if backbone.downsample == "stride" else nn.Identity()
        head = nn.Linear(backbone.feature_count, backbone.way)
        module = nn.Sequential(*blocks, last, nn.Flatten(), head)
        if params is not None:
            module.to(next(iter(params.values())).dtype)
            for target, source in zip(module.parameters(), params.values(), strict=True):
                target.data.copy_(source)
        return module

    return build


def write_store(
    folder: Path,
    channels: int = 1,
    classes: int = 24,
    images_per_class: int = 8,
    size: int = 16,
    training: Mapping[str, int] | None = None,
) -> Path:
    """A store of noisy copies of one random image a class; `halves` has no validation classes."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    names = tuple(f"class{number:02d}" for number in range(classes))
    shape, rows = (size, size, channels), classes * images_per_class
    shards = writer(folder, "hdf5", "raw", shape, rows=rows, dataset=folder.name, class_names=names)
    digest = ContentDigest()
    for class_id, name in enumerate(names):
        noise = random.normal(0, 40, (images_per_class, size, size, channels))
        pixels = random.integers(0, 256, (size, size, channels)) + noise
        ids = [f"{name}/{number}" for number in range(images_per_class)]
        shards.append(class_id, ids, pixels.clip(0, 255).astype(np.uint8))
        digest.add_class(name, ids, pixels.clip(0, 255).astype(np.uint8))
    half, quarter = classes // 2, classes // 4
    first, last = tuple(range(half)), tuple(range(half, classes))
    info = StoreInfo(
        name=folder.name,
        dataset=folder.name,
        version="1",
        class_names=names,
        class_sizes=(images_per_class,) * classes,
        splits={
            "quarters": {"train": first, "val": last[:quarter], "test": last[quarter:]},
            "halves": {"train": first, "val": (), "test": last},
        },
        default_scheme="quarters",
        channels=channels,
        image_shape=shape,
        preprocessing={"size": size, "resize": "bilinear", "rotations": False},
        training=training or {},
        shards=shards.finish(),
        content_digest=digest.hexdigest(),
        manifest_digest="",
        licence="",
        citation="",
        verified="no",
        sources=(),
        tool_version="",
    )
    write_info(folder, info)
    return folder


@pytest.fixture(scope="session")
def grey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of small grey images whose manifest would suggest 6 iterations."""
    training = {"iterations": 6, "validate_every": 2, "val_episodes": 3}
    return write_store(tmp_path_factory.mktemp("stores") / "grey", training=training)


@pytest.fixture(scope="session")
def colour(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of small colour images."""
    return write_store(tmp_path_factory.mktemp("stores") / "colour", channels=3)


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """`trainers ARGUMENTS`, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: object) -> Result:
        return CliRunner().invoke(main, [str(argument) for argument in arguments])

    return invoke


@pytest.fixture
def train(command: Callable[..., Result], grey: Path) -> Callable[..., Result]:
    """`trainers run` of a tiny network on the grey store, with further flags."""

    def run(*flags: object) -> Result:
        tiny = ("--filters", 4, "--query", 2, "--meta-batch-size", 2, "--episodes", 5)
        return command("run", "--dataset", grey, "--threads", 1, *tiny, *flags)

    return run
