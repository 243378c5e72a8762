"""Streams whose images lie on a device: the same episodes, whatever the store's format."""

from pathlib import Path

import numpy as np
import pytest
import torch

from episodes.adapters.torch import DeviceStream, on_device, to_tensors
from episodes.errors import UsageError
from episodes.stream import Stream, stream
from tests.episodes.made_stores import FORMATS
from tests.episodes.test_adapters import CLASSES, IMAGES_A_CLASS, assert_same, made_stream

GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
EVERY = CLASSES * IMAGES_A_CLASS


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("place", ["cpu", pytest.param("cuda", marks=GPU)])
def test_it_gives_the_episodes_of_the_stream(
    tmp_path: Path, place: str, form: tuple[str, str]
) -> None:
    host = made_stream(tmp_path, form=form, shot=(1, 3, 2))
    device = on_device(host, place)
    assert device[6]["query_images"].device.type == place
    assert_same(device[6], host[6], channels_first=True)
    assert_same(device.batch(3, 5), host.batch(3, 5), channels_first=True)
    batches = list(device.batches(4, start=2, stop=11))
    assert [len(batch["index"]) for batch in batches] == [4, 4, 1]
    for batch, expected in zip(batches, host.batches(4, start=2, stop=11), strict=True):
        assert_same(batch, expected, channels_first=True)
    np.testing.assert_array_equal(device.plan(6).query_rows, host.plan(6).query_rows)


@pytest.mark.parametrize("shape", [(5, 7, 3), (6, 6, 3), (4, 4, 1)])
def test_rows_of_any_number_of_bytes(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    host = made_stream(tmp_path, shape)
    assert_same(on_device(host, "cpu").batch(0, 3), host.batch(0, 3), channels_first=True)


def test_several_stores_and_a_class_pool(tmp_path: Path) -> None:
    (one,) = made_stream(tmp_path / "1").stores
    (two,) = made_stream(tmp_path / "2", form=("webdataset", "original")).stores
    pool = ("class6", "class1", "class3", "class4")
    host = stream([one, two], "train", 3, 1, 2, class_pool=pool)
    device = on_device(host, "cpu")
    assert device.batch(0, 1)["support_images"].shape == (1, 3, 3, 10, 8)
    batch = host.batch(0, 40)
    assert set(batch.source.tolist()) == {0, 1}
    assert_same(device.batch(0, 40), batch, channels_first=True)


def test_many_batches_are_planned_at_once_and_any_can_be_kept(made: Stream) -> None:
    kept = list(on_device(made, "cpu").batches(3, stop=600))
    assert len(kept) == 200
    for batch, expected in zip(kept, made.batches(3, stop=600), strict=True):
        assert_same(batch, expected, channels_first=True)


def test_shares_use_the_images_that_are_there(made: Stream) -> None:
    whole = on_device(made, "cpu")
    shares = [whole.shard(rank, 3) for rank in range(3)]
    indices = [[b["index"].tolist() for b in share.batches(2, stop=3)] for share in shares]
    assert indices == [[[0, 3], [6]], [[1, 4], [7]], [[2, 5], [8]]]
    assert all(share._pixels is whole._pixels for share in shares)
    assert_same(shares[2].batch(1, 2), made.shard(2, 3).batch(1, 2), channels_first=True)


def test_its_loader_goes_on_where_the_state_says(made: Stream) -> None:
    device = on_device(made, "cpu")
    loader = device.loader(4, start=1, stop=15)
    iterator = iter(loader)
    next(iterator)
    state = loader.state_dict()
    assert state == {"next": 5}
    other = device.shard(1, 2).loader(4, start=1, stop=15)
    other.load_state_dict(state)
    assert [batch["index"].tolist() for batch in other] == [[6, 8, 10, 12], [14]]


def test_a_device_without_room_is_refused_with_the_bytes_needed(made: Stream) -> None:
    needed = EVERY * 10 * 8 * 3
    DeviceStream(made, "cpu", limit=needed)
    with pytest.raises(UsageError, match=f"need {needed:,} bytes on cpu, which has {needed - 1:,}"):
        DeviceStream(made, "cpu", limit=needed - 1)


@pytest.mark.parametrize("place", ["abacus", "mps" if torch.cuda.is_available() else "cuda"])
def test_a_device_that_is_not_there_is_refused(made: Stream, place: str) -> None:
    for use in (on_device, lambda stream, place: to_tensors(stream[0], place)):
        with pytest.raises(UsageError, match="try cpu"):
            use(made, place)


@GPU
@pytest.mark.parametrize("non_blocking", [False, True])
def test_batches_go_to_the_gpu(made: Stream, non_blocking: bool) -> None:
    for form in (made.batch(2, 3), to_tensors(made.batch(2, 3))):
        moved = to_tensors(form, "cuda", non_blocking)
        torch.cuda.synchronize()
        assert moved["support_images"].is_cuda
        assert_same(moved, made.batch(2, 3), channels_first=True)


def test_shapes_on_a_device_that_holds_nothing(made: Stream) -> None:
    batch = on_device(made, "meta").batch(0, 5)
    assert batch["query_images"].device.type == "meta"
    assert batch["query_images"].shape == (5, 12, 3, 10, 8)
    assert batch["index"].tolist() == [0, 1, 2, 3, 4]


def test_images_are_channels_first_views_of_rows(made: Stream) -> None:
    images = on_device(made, "cpu").batch(0, 2)["support_images"]
    assert images.dtype == torch.uint8
    assert images.movedim(-3, -1)[0].is_contiguous()


def test_a_batch_has_episodes(made: Stream) -> None:
    with pytest.raises(UsageError, match="size 0"):
        on_device(made, "cpu").batches(0)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Stream:
    return made_stream(tmp_path_factory.mktemp("device"))
