"""PyTorch: datasets of tensors for its DataLoader, and streams that live on its devices.

Images are uint8 [n, C, H, W], as PyTorch's layers take them, and lie in memory as [n, H, W, C]: a
view without a copy, which PyTorch calls channels-last.
"""

from episodes.adapters.torch.datasets import EpisodeDataset, EpisodeIterable
from episodes.adapters.torch.device import DeviceStream, on_device
from episodes.adapters.torch.tensors import collate, to_tensors
from episodes.adapters.torch.transforms import EpisodeTransform, to_float

__all__ = [
    "DeviceStream",
    "EpisodeDataset",
    "EpisodeIterable",
    "EpisodeTransform",
    "collate",
    "on_device",
    "to_float",
    "to_tensors",
]
