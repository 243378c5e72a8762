"""Episodes as tensors: one, a batch, and batches made of single ones."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from episodes.adapters import FIELDS, IMAGES, ON_DEVICE, arrays, framework
from episodes.episode import Episode, EpisodeBatch
from episodes.errors import UsageError

if TYPE_CHECKING:
    import torch
else:
    torch = framework("torch", "torch")

Tensors = dict[str, "torch.Tensor"]
Item = Tensors | tuple["torch.Tensor", ...]


def to_tensors(
    episode: Episode | EpisodeBatch | Mapping[str, "torch.Tensor"],
    device: "torch.device | str | None" = None,
    non_blocking: bool = False,
) -> Tensors:
    """The fields of an episode or a batch as tensors, without a copy; then moved to `device`.

    Images become uint8 [..., n, C, H, W]; labels are int64. `index` and `source`, which only name
    the episodes, stay on the host. Copies to a CUDA device go through pinned memory; with
    `non_blocking` they go on while this returns. Raises UsageError for a device that is not there.
    """
    if isinstance(episode, Mapping):
        tensors = dict(episode)
    else:
        found = {name: torch.from_numpy(array) for name, array in arrays(episode).items()}
        tensors = found | {name: found[name].movedim(-1, -3) for name in IMAGES}
    if device is None:
        return tensors
    place = usable_device(device)
    moved = {name: _moved(name, tensors[name], place, non_blocking) for name in ON_DEVICE}
    return tensors | moved


def collate(items: Sequence[Any]) -> Item:
    """Episodes, or what a dataset here gives for them, as one batch with a leading axis.

    As a DataLoader's `collate_fn` it keeps the images' layout, which the default one does not.
    """
    if isinstance(items[0], tuple):
        return tuple(_stacked(list(column)) for column in zip(*items, strict=True))
    dicts = [to_tensors(item) for item in items]
    return {name: _stacked([each[name] for each in dicts]) for name in dicts[0]}


def usable_device(device: "torch.device | str") -> "torch.device":
    """The device of that name; raises UsageError where torch cannot use it here."""
    try:
        found = torch.device(device)
    except RuntimeError:
        raise UsageError(f"torch knows no device {device!r}: try cpu, cuda or mps") from None
    absent = (found.type == "cuda" and not torch.cuda.is_available()) or (
        found.type == "mps" and not torch.backends.mps.is_available()
    )
    if absent:
        raise UsageError(f"torch {torch.__version__} finds no {found.type} device here: try cpu")
    return found


def as_item(tensors: Tensors, tuples: bool) -> Item:
    """What a dataset gives: the dict, or the tuple of images and labels."""
    return tuple(tensors[name] for name in FIELDS[:4]) if tuples else tensors


def _stacked(tensors: list["torch.Tensor"]) -> "torch.Tensor":
    default_collate = torch.utils.data.default_collate
    if tensors[0].dim() < 4:
        return default_collate(tensors)
    return default_collate([each.movedim(-3, -1) for each in tensors]).movedim(-1, -3)


def _moved(
    name: str, tensor: "torch.Tensor", device: "torch.device", non_blocking: bool
) -> "torch.Tensor":
    if name in IMAGES:
        return _moved("", tensor.movedim(-3, -1), device, non_blocking).movedim(-1, -3)
    to_gpu = device.type == "cuda" and tensor.device.type == "cpu"
    # Copies from other memory, or with gaps, go through buffers of the driver's and of torch's.
    if to_gpu and not (tensor.is_contiguous() and tensor.is_pinned()):
        tensor = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor)
    return tensor.to(device, non_blocking=non_blocking)
