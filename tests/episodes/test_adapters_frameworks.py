"""Adapters of frameworks that the tests do not install by themselves."""

import importlib.util
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from episodes.adapters.grain import EpisodeSource
from episodes.errors import UsageError
from episodes.stream import Stream
from tests.episodes.made_stores import FORMATS
from tests.episodes.test_adapters import assert_same, made_stream

pytestmark = pytest.mark.adapters
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> Stream:
    return made_stream(tmp_path_factory.mktemp("frameworks"))


def indices(batches: Any) -> list[list[int]]:
    return [np.asarray(batch["index"]).reshape(-1).tolist() for batch in batches]


@pytest.fixture(scope="module")
def jax() -> Any:
    module = pytest.importorskip("jax")
    module.config.update("jax_num_cpu_devices", 2)
    return module


def test_jax_arrays_and_batches(jax: Any, stream: Stream) -> None:
    from episodes.adapters.jax import batches, to_arrays

    item = to_arrays(stream[3], jax.devices()[0])
    assert_same(item, stream[3])
    assert item["query_images"].devices() == {jax.devices()[0]}
    assert str(item["query_labels"].dtype) == "int32"
    far = stream[2**40]
    assert to_arrays(far)["index"] == 2**40
    kept = list(batches(stream, 2, start=1, stop=80, threads=2))
    for batch, expected in zip(kept, stream.batches(2, start=1, stop=80), strict=True):
        assert_same(batch, expected)
    assert list(batches(stream, 2, stop=0)) == []


def test_jax_batches_are_spread_over_devices(jax: Any, stream: Stream) -> None:
    from episodes.adapters.jax import batches

    mesh = jax.sharding.Mesh(jax.devices(), ("episodes",))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("episodes"))
    (batch,) = batches(stream, 4, stop=4, device=sharding)
    assert_same(batch, stream.batch(0, 4))
    pieces = batch["support_images"].addressable_shards
    assert [piece.data.shape[0] for piece in pieces] == [2, 2]


@pytest.mark.parametrize("form", FORMATS)
def test_jax_stream_on_a_device(jax: Any, tmp_path: Path, form: tuple[str, str]) -> None:
    from episodes.adapters.jax import on_device

    host = made_stream(tmp_path, form=form, shot=(1, 3, 2))
    device = on_device(host, jax.devices()[1])
    assert device[6]["query_images"].devices() == {jax.devices()[1]}
    assert_same(device[6], host[6])
    for batch, expected in zip(device.batches(4, 2, 11), host.batches(4, 2, 11), strict=True):
        assert_same(batch, expected)
    assert indices(device.shard(1, 2).loader(2, stop=8)) == [[1, 3], [5, 7]]
    needed = 7 * 9 * 10 * 8 * 3
    with pytest.raises(UsageError, match=f"need {needed:,} bytes on .*, which has 100 free"):
        on_device(host, limit=100)


def test_tensorflow_dataset(stream: Stream, tmp_path: Path) -> None:
    # In a process of its own: TensorFlow's LLVM and that of torch's triton abort one another's.
    if importlib.util.find_spec("tensorflow") is None:
        pytest.skip("tensorflow is not installed")
    (tmp_path / "stream.pickle").write_bytes(pickle.dumps(stream))
    code = "from tests.episodes.test_adapters_frameworks import check_tensorflow as check; check()"
    places = os.pathsep.join([str(ROOT), *sys.path])
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": places},
    )
    assert run.returncode == 0, run.stderr


def check_tensorflow() -> None:
    import tensorflow as tf

    from episodes.adapters.tensorflow import dataset

    stream = pickle.loads(Path("stream.pickle").read_bytes())
    for size in (None, 3):
        whole = dataset(stream, size, start=2, stop=13)
        leading = [] if size is None else [None]
        assert whole.element_spec["query_images"].shape.as_list() == [*leading, 12, 10, 8, 3]
        for _ in range(2):
            loader = stream.loader(size, start=2, stop=13)
            for item, expected in zip(whole.as_numpy_iterator(), loader, strict=True):
                assert_same(item, expected)
        share = dataset(stream.shard(1, 2), size, start=2, stop=13)
        assert sum(indices(share), []) == [3, 5, 7, 9, 11]
        endless = dataset(stream, size).prefetch(tf.data.AUTOTUNE).take(2)
        assert sum(indices(endless), []) == list(range(2 * (size or 1)))


def test_grain_datasets(stream: Stream) -> None:
    grain = pytest.importorskip("grain")
    source = EpisodeSource(stream, count=11, start=3)
    assert isinstance(source, grain.sources.RandomAccessDataSource)
    dataset = grain.MapDataset.source(source)
    assert_same(dataset[4], stream[7])
    batches = dataset.batch(4)
    for batch, expected in zip(batches, stream.batches(4, 3, 14), strict=True):
        assert_same(batch, expected)
    iterator = iter(dataset.to_iter_dataset().batch(4))
    next(iterator)
    state, following = iterator.get_state(), next(iterator)
    other = iter(dataset.to_iter_dataset().batch(4))
    other.set_state(state)
    assert indices([next(other)]) == indices([following]) == [[7, 8, 9, 10]]


@pytest.mark.parametrize("workers", [0, 2])
def test_grain_data_loader_shards_and_goes_on(stream: Stream, workers: int) -> None:
    grain = pytest.importorskip("grain")
    from absl import flags

    flags.FLAGS.mark_as_parsed()

    def loader(rank: int) -> Any:
        return grain.DataLoader(
            data_source=EpisodeSource(stream, count=8),
            sampler=grain.samplers.IndexSampler(
                num_records=8,
                num_epochs=1,
                shard_options=grain.sharding.ShardOptions(shard_index=rank, shard_count=2),
            ),
            worker_count=workers,
        )

    assert [sum(indices(loader(rank)), []) for rank in (0, 1)] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    iterator = iter(loader(1))
    next(iterator)
    other = iter(loader(1))
    other.set_state(iterator.get_state())
    assert sum(indices(other), []) == [5, 6, 7]


@pytest.fixture
def lightning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    module = pytest.importorskip("lightning.pytorch")
    monkeypatch.chdir(tmp_path)
    yield module


def recorder(lightning: Any) -> Any:
    import torch

    class Recorder(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(()))
            self.seen: dict[str, list] = {"train": [], "val": [], "test": []}

        def training_step(self, batch: dict, number: int) -> torch.Tensor:
            self.seen["train"].append(batch["index"].tolist())
            return self.weight * batch["support_images"].float().mean()

        def validation_step(self, batch: dict, number: int) -> None:
            self.seen["val"].append(batch["index"].tolist())

        def test_step(self, batch: dict, number: int) -> None:
            self.seen["test"].append(batch["index"].tolist())

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), 0.1)

    return Recorder()


def trainer(lightning: Any, **options: Any) -> Any:
    quiet = ("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing")
    chosen = dict.fromkeys(quiet, False) | {"accelerator": "cpu", "devices": 1} | options
    return lightning.Trainer(**chosen)


def test_lightning_trains_on_and_validates_on_the_same(lightning: Any, stream: Stream) -> None:
    from episodes.adapters.lightning import EpisodeDataModule

    data = EpisodeDataModule(
        stream, stream, stream, batch_size=2, train_episodes=5, val_episodes=3, test_episodes=1
    )
    model = recorder(lightning)
    fit = trainer(lightning, max_epochs=2, num_sanity_val_steps=1)
    fit.fit(model, data)
    assert model.seen["train"] == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert model.seen["val"] == [[0, 1], [0, 1], [2], [0, 1], [2]]
    fit.test(model, data)
    assert model.seen["test"] == [[0]]
    (batch,) = data.test_dataloader()
    assert_same(batch, stream.batch(0, 1), channels_first=True)


def test_lightning_transforms_training_batches_alone(lightning: Any, stream: Stream) -> None:
    from episodes.adapters.lightning import EpisodeDataModule

    transformed = []

    def transform(batch: dict[str, Any]) -> dict[str, Any]:
        transformed.append(batch["index"].tolist())
        return batch | {"index": batch["index"] + 100}

    data = EpisodeDataModule(
        stream, stream, batch_size=2, train_episodes=4, val_episodes=2, transform=transform
    )
    model = recorder(lightning)
    trainer(lightning, max_epochs=1, num_sanity_val_steps=0).fit(model, data)
    assert transformed == [[0, 1], [2, 3]]
    assert model.seen == {"train": [[100, 101], [102, 103]], "val": [[0, 1]], "test": []}
    assert data.state_dict() == {"next": 4}


def test_lightning_goes_on_in_the_middle_of_an_epoch(
    lightning: Any, stream: Stream, tmp_path: Path
) -> None:
    from episodes.adapters.lightning import EpisodeDataModule

    def data() -> EpisodeDataModule:
        return EpisodeDataModule(stream, batch_size=2, train_episodes=8)

    saved = lightning.callbacks.ModelCheckpoint(tmp_path, filename="last", every_n_train_steps=1)
    model = recorder(lightning)
    stopped = trainer(lightning, max_steps=5, callbacks=[saved], enable_checkpointing=True)
    stopped.fit(model, data())
    assert model.seen["train"] == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
    model = recorder(lightning)
    again = trainer(lightning, max_epochs=3)
    again.fit(model, data(), ckpt_path=saved.best_model_path, weights_only=False)
    assert sum(model.seen["train"], []) == list(range(10, 24))


def test_lightning_data_module_without_an_epochs_end(lightning: Any, stream: Stream) -> None:
    from episodes.adapters.lightning import EpisodeDataModule

    data, model = EpisodeDataModule(stream, batch_size=2), recorder(lightning)
    trainer(lightning, max_steps=3).fit(model, data)
    assert model.seen["train"] == [[0, 1], [2, 3], [4, 5]]
    assert data.state_dict() == {"next": 6}
    with pytest.raises(UsageError, match="no test stream"):
        data.test_dataloader()
    with pytest.raises(UsageError, match="1 train episodes make no batch of 4"):
        EpisodeDataModule(stream, train_episodes=1).train_dataloader()


def test_lightning_ranks_share_every_part(lightning: Any, stream: Stream, tmp_path: Path) -> None:
    from episodes.adapters.lightning import EpisodeDataModule

    data = EpisodeDataModule(
        stream, stream, batch_size=2, train_episodes=8, val_episodes=4, threads=0
    )
    model = recorder(lightning)
    keep = lightning.callbacks.LambdaCallback(on_fit_end=_Keep(tmp_path))
    ranks = {"devices": 2, "strategy": "ddp_fork", "callbacks": [keep]}
    trainer(lightning, max_epochs=1, num_sanity_val_steps=0, **ranks).fit(model, data)
    shares = [np.load(tmp_path / f"{rank}.npz") for rank in range(2)]
    assert [share["train"].tolist() for share in shares] == [[[0, 2], [4, 6]], [[1, 3], [5, 7]]]
    assert [share["val"].tolist() for share in shares] == [[[0, 2]], [[1, 3]]]


class _Keep:
    """Writes what a rank has seen, because its process ends with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, fit: Any, model: Any) -> None:
        np.savez(self.folder / f"{fit.global_rank}.npz", **model.seen)
