"""Transforms on episodes: the same episode, the same augmentation, however it is reached."""

import json
import pickle
from collections.abc import Callable, Iterable
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from episodes.adapters import IMAGES
from episodes.adapters.torch import (
    EpisodeDataset,
    EpisodeIterable,
    EpisodeTransform,
    collate,
    on_device,
    to_float,
    to_tensors,
)
from episodes.adapters.torch.tensors import Tensors
from episodes.adapters.torch.transforms import Unit
from episodes.errors import UsageError
from episodes.manifest import Normalisation
from episodes.stream import Stream
from tests.episodes.test_adapters import assert_same, made_stream

GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
PLACES = ["cpu", pytest.param("cuda", marks=GPU)]
COUNT = 17
AUGMENTATION = v2.Compose(
    [
        v2.RandomResizedCrop(6),
        v2.RandomHorizontalFlip(),
        v2.ColorJitter(0.4, 0.4, 0.4),
        v2.ToDtype(torch.float32, scale=True),
        v2.GaussianNoise(sigma=0.1),
    ]
)


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> Stream:
    return made_stream(tmp_path_factory.mktemp("transforms"))


@pytest.fixture(scope="module", params=get_args(Unit))
def augment(request: pytest.FixtureRequest, stream: Stream) -> EpisodeTransform:
    return EpisodeTransform(stream, AUGMENTATION, per=request.param)


@pytest.fixture(scope="module")
def episodes(stream: Stream, augment: EpisodeTransform) -> list[Tensors]:
    """Episodes that were transformed one by one, in another order."""
    made = {index: augment(to_tensors(stream[index])) for index in reversed(range(COUNT))}
    return [made[index] for index in range(COUNT)]


def assert_equal(found: Iterable[Tensors], expected: Iterable[Tensors]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert set(one) == set(other)
        for name, tensor in one.items():
            assert torch.equal(tensor, other[name]), name


def singly(batches: Iterable[Any]) -> list[Tensors]:
    return [
        {name: tensor[position] for name, tensor in batch.items()}
        for batch in batches
        for position in range(len(batch["index"]))
    ]


@pytest.mark.parametrize("size", [1, 4, 7])
def test_batches_of_any_size(
    stream: Stream, augment: EpisodeTransform, episodes: list[Tensors], size: int
) -> None:
    batches = [augment(to_tensors(batch)) for batch in stream.batches(size, stop=COUNT)]
    assert batches[0]["query_images"].shape == (size, 12, 3, 6, 6)
    assert_equal(singly(batches), episodes)


def test_episodes_and_seeds_draw_for_themselves(
    stream: Stream, augment: EpisodeTransform, episodes: list[Tensors]
) -> None:
    item = to_tensors(stream[3])
    other = Stream(stream.stores, "train", stream.spec, seed=stream.seed + 1)
    changed = EpisodeTransform(other, AUGMENTATION, augment.per)(item)
    renamed = augment(item | {"index": torch.tensor(4)})
    for images in (changed["query_images"], renamed["query_images"]):
        assert not torch.equal(images, episodes[3]["query_images"])


def flipped_share(stream: Stream, per: Unit) -> list[float]:
    """For each of 60 episodes, which part of its 18 images a random flip turned."""
    flip = EpisodeTransform(stream, v2.RandomHorizontalFlip(), per)
    shares = []
    for index in range(60):
        before = to_tensors(stream[index])
        after = flip(before)
        images, found = (
            torch.cat((x["support_images"], x["query_images"])) for x in (before, after)
        )
        turned = (images != found).flatten(1).any(1)
        assert torch.equal(found[turned], images[turned].flip(-1))
        shares.append(turned.float().mean().item())
    return shares


def test_per_image_each_draws_anew_and_per_episode_all_draw_once(stream: Stream) -> None:
    per_image, per_episode = flipped_share(stream, "image"), flipped_share(stream, "episode")
    assert set(per_episode) == {0.0, 1.0} and len(set(per_image)) > 5
    assert abs(np.mean(per_episode) - 0.5) < 4 * 0.5 / np.sqrt(60)
    assert abs(np.mean(per_image) - 0.5) < 4 * 0.5 / np.sqrt(60 * 18)


@pytest.mark.parametrize("per", get_args(Unit))
def test_what_draws_nothing_is_what_the_transform_makes_of_all_images(
    stream: Stream, per: Unit
) -> None:
    batch = to_tensors(stream.batch(0, 3))
    resized = EpisodeTransform(stream, v2.Resize((5, 4)), per)(batch)
    for name, tensor in resized.items():
        if name in IMAGES:
            assert torch.equal(tensor, v2.functional.resize(batch[name], [5, 4]))
        else:
            assert tensor is batch[name]


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("size", [None, 1, 4, 7])
def test_iterable_datasets_over_workers(
    stream: Stream,
    augment: EpisodeTransform,
    episodes: list[Tensors],
    workers: int,
    size: int | None,
) -> None:
    dataset = EpisodeIterable(stream, size, stop=COUNT, transform=augment)
    items = list(DataLoader(dataset, batch_size=None, num_workers=workers))
    assert_equal(items if size is None else singly(items), episodes)


@pytest.mark.parametrize("workers", [0, 2])
def test_map_style_datasets_over_workers(
    stream: Stream, augment: EpisodeTransform, episodes: list[Tensors], workers: int
) -> None:
    dataset = EpisodeDataset(stream, COUNT - 2, start=2, transform=augment)
    loader = DataLoader(dataset, 4, num_workers=workers, collate_fn=collate)
    assert_equal(singly(loader), episodes[2:])
    assert_equal([dataset[5]], [episodes[7]])  # type: ignore[list-item]


def test_shares_of_the_stream(
    stream: Stream, augment: EpisodeTransform, episodes: list[Tensors]
) -> None:
    for rank in range(3):
        share = stream.shard(rank, 3)
        of_share = EpisodeTransform(share, AUGMENTATION, augment.per)
        items = EpisodeIterable(share, 2, stop=COUNT, transform=of_share)
        assert_equal(singly(items), episodes[rank::3])


def test_going_on_from_a_state(
    stream: Stream, augment: EpisodeTransform, episodes: list[Tensors]
) -> None:
    dataset = EpisodeIterable(stream, 4, stop=COUNT, transform=augment)
    iterator = iter(dataset)
    begun = singly([next(iterator), next(iterator)])
    other = iter(
        EpisodeIterable(stream, 4, stop=COUNT, transform=pickle.loads(pickle.dumps(augment)))
    )
    other.load_state_dict(json.loads(json.dumps(iterator.state_dict())))
    assert_equal(begun + singly(other), episodes)


def test_on_a_device_that_holds_the_images(
    stream: Stream, augment: EpisodeTransform, episodes: list[Tensors]
) -> None:
    device = on_device(stream, "cpu", transform=augment)
    assert_equal(singly(device.batches(7, stop=COUNT)), episodes)
    assert_equal([device.shard(1, 2)[3]], [episodes[7]])


@GPU
def test_on_a_gpu_parameters_are_those_of_the_host_and_noise_is_repeated(stream: Stream) -> None:
    flip = EpisodeTransform(stream, v2.Compose([v2.RandomHorizontalFlip(), v2.RandomCrop(6)]))
    expected = [flip(to_tensors(batch)) for batch in stream.batches(4, stop=COUNT)]
    device = on_device(stream, "cuda", transform=flip)
    for batch, other in zip(device.batches(4, stop=COUNT), expected, strict=True):
        assert batch["query_images"].is_cuda
        assert torch.equal(batch["query_images"].cpu(), other["query_images"])
    noisy = on_device(stream, "cuda", transform=EpisodeTransform(stream, AUGMENTATION))
    assert_equal(*(singly(noisy.batches(size, stop=COUNT)) for size in (1, 7)))


@pytest.mark.parametrize("place", PLACES)
def test_the_global_generators_stay_as_they_were(stream: Stream, place: str) -> None:
    def drawn_after(work: Callable[[], object]) -> list[float]:
        torch.manual_seed(5)
        work()
        return [torch.rand(1).item(), torch.rand(1, device=place).item()]

    def failing(image: torch.Tensor) -> torch.Tensor:
        raise RuntimeError(f"drew {torch.rand(1)}")

    def fail() -> None:
        with pytest.raises(RuntimeError, match="drew tensor"):
            EpisodeTransform(stream, failing)(batch)

    batch = to_tensors(stream.batch(0, 2), place)
    expected = drawn_after(lambda: None)
    assert drawn_after(lambda: EpisodeTransform(stream, AUGMENTATION)(batch)) == expected
    assert drawn_after(fail) == expected


def test_wrong_transforms_are_told_in_one_line(stream: Stream) -> None:
    widths = iter(range(3, 99))
    growing = EpisodeTransform(stream, lambda image: image[..., : next(widths)])
    with pytest.raises(UsageError, match="images of several shapes"):
        growing(to_tensors(stream[0]))
    with pytest.raises(UsageError, match="unknown unit of transforms 'images': did you mean"):
        EpisodeTransform(stream, AUGMENTATION, per="images")  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("place", PLACES)
def test_to_float_is_what_torchvision_makes_of_it(
    stream: Stream, dtype: torch.dtype, place: str
) -> None:
    constants = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    plain = v2.ToDtype(dtype, scale=True)
    both = v2.Compose([plain, v2.Normalize(constants.mean, constants.std)])
    near = {torch.float64: 1e-12, torch.float32: 1e-6, torch.bfloat16: 0.05}[dtype]
    for form in (stream[2], stream.batch(2, 3)):
        tensors = to_tensors(form, place)
        for found, transform in (
            (to_float(tensors, dtype=dtype), plain),
            (to_float(tensors, constants, dtype), both),
        ):
            for name in IMAGES:
                assert found[name].dtype == dtype and found[name].device == tensors[name].device
                torch.testing.assert_close(found[name], transform(tensors[name]), atol=near, rtol=0)
        assert_same(tensors, form, channels_first=True)
    assert to_float(to_tensors(stream[0]))["support_images"].dtype == torch.float32


def test_to_float_is_refused_twice_and_for_other_channels(stream: Stream) -> None:
    item = to_tensors(stream[0])
    with pytest.raises(UsageError, match="torch.float32 already; expected torch.uint8"):
        to_float(to_float(item))
    with pytest.raises(UsageError, match="have 3 channels, the constants 1"):
        to_float(item, Normalisation((0.5,), (0.5,)))
