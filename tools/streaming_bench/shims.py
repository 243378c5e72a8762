"""What peers that are no longer kept need so as to run on today's PyTorch and Python."""

import collections
import collections.abc
from typing import Any

import torch.utils.data


def samplers_take_any_argument() -> None:
    """PyTorch's `Sampler` took the data set once and takes nothing today."""

    def accept(self: object, *arguments: object, **options: object) -> None:
        return None

    torch.utils.data.Sampler.__init__ = accept  # type: ignore[method-assign]


def old_names_of_torchvision() -> None:
    """What torchmeta imports, for downloads that are not made here."""
    import torchvision.datasets.utils as utils

    for name in ("_get_confirm_token", "_save_response_content"):
        if not hasattr(utils, name):
            setattr(utils, name, None)


def collections_have_abcs() -> None:
    """`from collections import Iterable`, which Python 3.10 took away."""
    collections.Iterable = collections.abc.Iterable  # type: ignore[attr-defined]


def reads_several(dataset: Any) -> None:
    """Give a `Subset` class with a `__getitem__` of its own the `__getitems__` PyTorch asks for."""

    def several(self: Any, indices: list[int]) -> list[Any]:
        return [self[index] for index in indices]

    dataset.__getitems__ = several
