"""What every implementation computes: the tasks, the network, and how it adapts."""

from dataclasses import dataclass, replace


class Skipped(Exception):
    """A row that cannot be measured here; the message says why."""


@dataclass(frozen=True)
class Setting:
    """Conv4 on tasks of one shape: random images, or real ones where a `dataset` is named."""

    dataset: str | None = None
    way: int = 5
    shot: int = 5
    query: int = 15
    image_size: int = 84
    channels: int = 3
    filters: int = 64
    steps: int = 5
    meta_batch_size: int = 4
    inner_lr: float = 0.01
    outer_lr: float = 1e-3
    device: str = "cpu"
    threads: int = 1
    seed: int = 1

    @property
    def of_check(self) -> "Setting":
        """The small problem on which implementations are compared in float64."""
        return replace(
            self,
            dataset=None,
            shot=2,
            query=3,
            image_size=28,
            filters=min(self.filters, 8),
            steps=2,
            meta_batch_size=2,
        )

    def __str__(self) -> str:
        shape = f"{self.way}-way {self.shot}-shot {self.query}-query"
        images = f"{self.image_size}x{self.image_size}x{self.channels}"
        return (
            f"Conv4-{self.filters}, {shape}, {images} images of {self.dataset or 'random noise'}, "
            f"{self.steps} inner steps, meta-batch of {self.meta_batch_size}, {self.device}, "
            f"{self.threads} thread{'s' * (self.threads > 1)}"
        )
