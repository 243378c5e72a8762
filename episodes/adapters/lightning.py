"""Lightning: the streams of a training as one data module."""

from collections.abc import Iterator
from typing import Any

from episodes.adapters import framework
from episodes.adapters.torch.tensors import Tensors, to_tensors
from episodes.adapters.torch.transforms import Transform
from episodes.errors import UsageError
from episodes.stream import Stream

LightningDataModule: Any = framework("lightning.pytorch", "lightning").LightningDataModule


class EpisodeDataModule(LightningDataModule):
    """Batches of episodes for a Trainer, as `episodes.adapters.torch.to_tensors` gives them.

    Training goes on through the stream, `train_episodes` an epoch (None: one epoch without end),
    and never comes back to an episode; `val` and `test` give their first `val_episodes` and
    `test_episodes` every time. Ranks share all of them. The state, which Lightning keeps in its
    checkpoints, is one number: the next training episode. `threads` read ahead; there is nothing
    for worker processes to do. `transform` is applied to training batches, on their device.
    """

    def __init__(
        self,
        train: Stream | None = None,
        val: Stream | None = None,
        test: Stream | None = None,
        *,
        batch_size: int = 4,
        train_episodes: int | None = None,
        val_episodes: int = 600,
        test_episodes: int = 600,
        threads: int = 1,
        transform: Transform | None = None,
    ) -> None:
        super().__init__()
        self.transform = transform
        self.streams = {"train": train, "val": val, "test": test}
        self.batch_size, self.threads = batch_size, threads
        self.train_episodes = train_episodes
        self.val_episodes, self.test_episodes = val_episodes, test_episodes
        self.next = 0

    def train_dataloader(self) -> "_Batches":
        """The batches of an epoch, from the next episode on each time that they are iterated."""
        return _Batches(self, "train", self.train_episodes)

    def val_dataloader(self) -> "_Batches | list":
        """The batches of the first `val_episodes`."""
        return _Batches(self, "val", self.val_episodes) if self.streams["val"] else []

    def test_dataloader(self) -> "_Batches":
        """The batches of the first `test_episodes`."""
        return _Batches(self, "test", self.test_episodes)

    def transfer_batch_to_device(self, batch: Tensors, device: Any, dataloader_idx: int) -> Tensors:
        """The batch on `device`, but for the episodes' numbers."""
        return to_tensors(batch, device, non_blocking=True)

    def on_after_batch_transfer(self, batch: Tensors, dataloader_idx: int) -> Tensors:
        """Transforms a training batch, and notes which episode is next.

        Batches that were only read ahead do not count.
        """
        if self.trainer is None or not self.trainer.training:
            return batch
        share = self.share("train")
        self.next = int(batch["index"][-1]) - share.rank + share.world
        return batch if self.transform is None else self.transform(batch)

    def state_dict(self) -> dict[str, int]:
        """The next training episode."""
        return {"next": self.next}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Go on where `state_dict` says."""
        self.next = int(state_dict["next"])

    def share(self, part: str) -> Stream:
        """This rank's share of a stream; raises UsageError where there is no such stream."""
        stream = self.streams[part]
        if stream is None:
            raise UsageError(f"the data module has no {part} stream: EpisodeDataModule({part}=...)")
        if stream.world > 1 or self.trainer is None:
            return stream
        return stream.shard(self.trainer.global_rank, self.trainer.world_size)


class _Batches:
    """The batches of a part; of training only whole ones, as many on every rank."""

    def __init__(self, module: EpisodeDataModule, part: str, episodes: int | None) -> None:
        self._module, self._part, self._share = module, part, module.share(part)
        self._episodes = episodes
        step = module.batch_size * self._share.world
        if part == "train" and episodes is not None:
            self._episodes = episodes // step * step
        if self._episodes == 0:
            raise UsageError(f"{episodes} {part} episodes make no batch of {step} over all ranks")

    def state_dict(self) -> dict[str, int]:
        # The module keeps it; Lightning asks here whether these batches can be gone on with.
        return self._module.state_dict()

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self._module.load_state_dict(state_dict)

    def __len__(self) -> int:
        if self._episodes is None:
            raise TypeError("training without train_episodes has no length")
        mine = len(range(self._share.rank, self._episodes, self._share.world))
        return -(-mine // self._module.batch_size)

    def __iter__(self) -> Iterator[Tensors]:
        module = self._module
        start = module.next if self._part == "train" else 0
        stop = None if self._episodes is None else start + self._episodes
        loader = self._share.loader(
            module.batch_size, start=start, stop=stop, threads=module.threads
        )
        return map(to_tensors, loader)
