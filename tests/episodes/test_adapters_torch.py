"""PyTorch's datasets: the episodes of the NumPy stream for any number of workers and ranks."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Subset

from episodes.adapters.torch import EpisodeDataset, EpisodeIterable, collate, to_tensors
from episodes.errors import UsageError
from episodes.stream import Stream
from tests.episodes.test_adapters import assert_same, made_stream

WORKERS = [0, 1, 2]


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> Stream:
    return made_stream(tmp_path_factory.mktemp("torch"))


def indices(batches: object) -> list[list[int]]:
    return [batch["index"].reshape(-1).tolist() for batch in batches]  # type: ignore[attr-defined]


def test_tensors_are_channels_first_views(stream: Stream) -> None:
    for episode, axes in ((stream[4], 1), (stream.batch(4, 2), 2)):
        tensors = to_tensors(episode)
        assert_same(tensors, episode, channels_first=True)
        images = tensors["query_images"]
        assert images.shape[axes:] == (3, 10, 8)
        assert images.data_ptr() == episode.query_images.ctypes.data
        assert {tensor.dtype for tensor in tensors.values()} == {torch.uint8, torch.int64}


def test_tensors_go_to_a_device_but_for_what_names_the_episodes(stream: Stream) -> None:
    for form in (stream.batch(0, 2), to_tensors(stream.batch(0, 2))):
        moved = to_tensors(form, "meta", non_blocking=True)
        on_host = {name for name, tensor in moved.items() if tensor.device.type == "cpu"}
        assert on_host == {"index", "source"}
        assert moved["support_images"].shape == (2, 6, 3, 10, 8)
    assert_same(to_tensors(stream[1], "cpu"), stream[1], channels_first=True)


def test_collate_makes_the_batch_of_the_stream(stream: Stream) -> None:
    episodes = [stream[index] for index in range(3, 6)]
    for items in (episodes, [to_tensors(episode) for episode in episodes]):
        batch = collate(items)
        assert isinstance(batch, dict)
        assert_same(batch, stream.batch(3, 3), channels_first=True)
        assert batch["query_images"].movedim(-3, -1).is_contiguous()


@pytest.mark.parametrize("workers", WORKERS)
def test_map_style_dataset(stream: Stream, workers: int) -> None:
    dataset = EpisodeDataset(stream, count=10, start=3)
    batches = list(DataLoader(dataset, 4, num_workers=workers, collate_fn=collate))
    for batch, expected in zip(batches, stream.batches(4, start=3, stop=13), strict=True):
        assert_same(batch, expected, channels_first=True)


def test_map_style_dataset_by_index_and_in_any_order(stream: Stream) -> None:
    dataset = EpisodeDataset(stream, count=5, start=3)
    assert len(dataset) == 5
    assert_same(dataset[2], stream[5], channels_first=True)
    assert indices(dataset) == [[3], [4], [5], [6], [7]]
    some = DataLoader(Subset(dataset, [4, 0, 1]), 3, collate_fn=collate)
    assert indices(some) == [[7, 3, 4]]
    for index in (-1, 5):
        with pytest.raises(IndexError):
            dataset[index]
    with pytest.raises(UsageError, match="count -1"):
        EpisodeDataset(stream, count=-1)


def test_items_can_be_tuples(stream: Stream) -> None:
    loader = DataLoader(EpisodeDataset(stream, 4, tuples=True), 4, collate_fn=collate)
    (collated,) = loader
    (gathered,) = EpisodeIterable(stream, 4, stop=4, tuples=True)
    expected = to_tensors(stream.batch(0, 4))
    for item in (collated, gathered):
        assert isinstance(item, tuple | list)
        for tensor, name in zip(item, list(expected)[:4], strict=True):
            assert torch.equal(tensor, expected[name])


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("size", [None, 3])
def test_iterable_dataset_keeps_the_order(stream: Stream, workers: int, size: int | None) -> None:
    dataset = EpisodeIterable(stream, size, start=5, stop=16)
    assert len(dataset) == (11 if size is None else 4)
    read = list(DataLoader(dataset, batch_size=None, num_workers=workers))
    loader = stream.loader(size, start=5, stop=16)
    for item, expected in zip(read, loader, strict=True):
        assert_same(item, expected, channels_first=True)


def test_workers_send_all_images_of_a_batch_in_one_piece(stream: Stream) -> None:
    (batch,) = DataLoader(EpisodeIterable(stream, 4, stop=4), batch_size=None, num_workers=1)
    pieces = {tensor.untyped_storage().data_ptr() for tensor in batch.values()}
    assert len(pieces) == 2
    images = batch["query_images"]
    assert images.is_shared() and images.untyped_storage().nbytes() == 4 * 18 * 10 * 8 * 3


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("size", [None, 2])
def test_ranks_and_workers_share_without_overlap(
    stream: Stream, workers: int, size: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    for rank in range(3):
        monkeypatch.setenv("RANK", str(rank))
        dataset = EpisodeIterable(stream, size, start=4, stop=15)
        read = indices(DataLoader(dataset, batch_size=None, num_workers=workers))
        assert sum(read, []) == list(range(4 + rank, 15, 3))
        assert len(read) == len(dataset)
        share = EpisodeIterable(stream.shard(rank, 3), size, start=4, stop=15)
        assert indices(share) == read


def test_persistent_workers_and_further_epochs(stream: Stream) -> None:
    dataset = EpisodeIterable(stream, 2, stop=6)
    loader = DataLoader(dataset, batch_size=None, num_workers=2, persistent_workers=True)
    for _ in range(2):
        assert indices(loader) == [[0, 1], [2, 3], [4, 5]]


def test_datasets_can_be_pickled(stream: Stream) -> None:
    for dataset in (EpisodeIterable(stream, None, stop=3), EpisodeDataset(stream, 3)):
        for item, episode in zip(pickle.loads(pickle.dumps(dataset)), stream, strict=False):
            assert_same(item, episode, channels_first=True)


@pytest.mark.adapters  # for its time: the worker imports torch
def test_spawned_workers(stream: Stream) -> None:
    loader = DataLoader(
        EpisodeIterable(stream, 2, stop=6),
        batch_size=None,
        num_workers=2,
        multiprocessing_context="spawn",
    )
    for item, expected in zip(loader, stream.batches(2, stop=6), strict=True):
        assert_same(item, expected, channels_first=True)


def test_an_endless_iterable_can_be_left_and_says_where_it_is(stream: Stream) -> None:
    dataset = EpisodeIterable(stream, 2, start=1)
    with pytest.raises(TypeError, match="no length"):
        len(dataset)
    iterator = iter(dataset)
    for _ in range(3):
        next(iterator)
    state = json.loads(json.dumps(iterator.state_dict()))
    assert state == {"next": 7}
    other = iter(dataset)
    other.load_state_dict(state)
    assert next(other)["index"].tolist() == [7, 8]  # type: ignore[call-overload]
    for wrong in ({}, {"next": "7"}):
        with pytest.raises(UsageError, match="the state is"):
            other.load_state_dict(wrong)  # type: ignore[arg-type]


def test_batches_that_are_kept_stay_as_they_were(stream: Stream) -> None:
    kept = list(EpisodeIterable(stream, 2, stop=80))
    for item, expected in zip(kept, stream.batches(2, stop=80), strict=True):
        assert_same(item, expected, channels_first=True)


def test_a_fault_in_a_worker_arrives_as_what_it_is(tmp_path: Path) -> None:
    stream = made_stream(tmp_path)
    for shard in (tmp_path / "store").glob("shard-*"):
        shard.write_bytes(b"")
    with pytest.raises(Exception, match="was changed while it was open"):
        list(DataLoader(EpisodeIterable(stream, 2, stop=4), batch_size=None, num_workers=1))


@pytest.mark.adapters
@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("size", [None, 2])
def test_stateful_data_loader_goes_on_at_the_next_unconsumed_episode(
    stream: Stream, workers: int, size: int | None
) -> None:
    stateful = pytest.importorskip("torchdata.stateful_dataloader")

    def loader() -> DataLoader:
        dataset = EpisodeIterable(stream, size, start=3, stop=20)
        return stateful.StatefulDataLoader(dataset, batch_size=None, num_workers=workers)

    whole = indices(loader())
    assert sum(whole, []) == list(range(3, 20))
    for consumed in (1, 4, 5):
        first = loader()
        iterator = iter(first)
        begun = [next(iterator)["index"].reshape(-1).tolist() for _ in range(consumed)]
        other = loader()
        other.load_state_dict(json.loads(json.dumps(first.state_dict())))  # type: ignore[attr-defined]
        assert begun + indices(other) == whole
        assert indices(other) == whole


@pytest.mark.adapters
def test_stateful_data_loader_over_the_map_style_dataset(stream: Stream) -> None:
    stateful = pytest.importorskip("torchdata.stateful_dataloader")

    def loader() -> DataLoader:
        dataset = EpisodeDataset(stream, 11)
        return stateful.StatefulDataLoader(dataset, 2, num_workers=2, collate_fn=collate)

    first = loader()
    iterator = iter(first)
    next(iterator), next(iterator)
    other = loader()
    other.load_state_dict(first.state_dict())  # type: ignore[attr-defined]
    assert indices(other) == [[4, 5], [6, 7], [8, 9], [10]]


def _rank(rank: int, stream: Stream, folder: str) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
    )
    dataset = EpisodeIterable(stream, 2, stop=9)
    np.save(f"{folder}/{rank}.npy", sum(indices(DataLoader(dataset, None, num_workers=1)), []))
    torch.distributed.destroy_process_group()


@pytest.mark.adapters
def test_ranks_of_torch_distributed(stream: Stream, tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_rank, (stream, str(tmp_path)), nprocs=2)
    shares = [np.load(tmp_path / f"{rank}.npy").tolist() for rank in range(2)]
    assert shares == [[0, 2, 4, 6, 8], [1, 3, 5, 7]]
