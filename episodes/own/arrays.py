"""Images that are in memory."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from episodes.errors import UsageError
from episodes.images import MODES
from episodes.own.collection import Collection, Item, name_of_class

ORIGIN = "arrays in memory"


def images_in_arrays(images: Any, labels: Any) -> Collection:
    """uint8 `images`, [N, H, W], [N, H, W, C] or N arrays of differing sizes, and N `labels`.

    Labels are integers or strings, which name the classes; an image's id is its position. Raises
    UsageError for other types, shapes and lengths.
    """
    arrays = _arrays(images)
    names = _names(labels)
    if len(arrays) != len(names):
        raise UsageError(f"{len(arrays):,} images have {len(names):,} labels; expected one each")
    for position, array in enumerate(arrays):
        _check(array, f"images[{position}]")
    items = (
        Item(name, str(position), position, hashlib.sha256(_content(array)).hexdigest())
        for position, (name, array) in enumerate(zip(names, arrays, strict=True))
    )
    sizes = {array.shape[:2] for array in arrays}
    height, width = sizes.pop() if len(sizes) == 1 else (0, 1)
    return Collection(
        "arrays",
        ORIGIN,
        tuple(items),
        lambda position: np.ascontiguousarray(arrays[position]),
        size=height if height == width else None,
        channels=max((_channels(array) for array in arrays), default=3),
    )


def _arrays(images: Any) -> Sequence[np.ndarray]:
    if isinstance(images, (list, tuple)):
        for position, image in enumerate(images):
            if not isinstance(image, np.ndarray):
                raise UsageError(
                    f"images[{position}] is a {type(image).__name__}; expected a uint8 array: "
                    "take np.asarray of it (of a Pillow image after .convert('RGB'))"
                )
        return images
    array = np.asarray(images)
    if array.ndim not in (3, 4):
        raise UsageError(
            f"images are {array.dtype} {list(array.shape)}; expected [N, H, W] or [N, H, W, C]"
        )
    return array  # type: ignore[return-value]


def _names(labels: Any) -> list[str]:
    try:
        array = np.asarray(labels)
    except ValueError:
        raise UsageError("labels are lists of differing lengths; expected [N]") from None
    if array.shape == (0,):
        return []
    if array.ndim != 1 or array.dtype.kind not in "iuUTO":
        raise UsageError(
            f"labels are {array.dtype} {list(array.shape)}; expected [N] of integers or strings"
        )
    names = []
    for position, label in enumerate(array.tolist()):
        if type(label) not in (int, str):
            raise UsageError(f"labels[{position}] is {label!r}; expected an integer or a string")
        names.append(name_of_class(str(label), f"labels[{position}]"))
    return names


def _check(array: np.ndarray, where: str) -> None:
    found = f"{where} is {array.dtype} {list(array.shape)}"
    if array.dtype.kind == "f":
        raise UsageError(
            f"{found}; expected uint8 levels 0 to 255: from levels 0.0 to 1.0, "
            "(255 * images).round().astype('uint8')"
        )
    if array.dtype != np.uint8:
        raise UsageError(f"{found}; expected uint8 levels 0 to 255")
    if array.ndim == 3 and array.shape[2] not in MODES and array.shape[0] in MODES:
        raise UsageError(f"{found}; expected the channels last: move them with np.moveaxis")
    if array.ndim not in (2, 3) or 0 in array.shape or _channels(array) not in MODES:
        raise UsageError(f"{found}; expected [H, W] or [H, W, C] with 1 or 3 channels")


def _channels(array: np.ndarray) -> int:
    return array.shape[2] if array.ndim == 3 else 1


def _content(array: np.ndarray) -> bytes:
    return str(array.shape).encode() + np.ascontiguousarray(array).tobytes()
