"""Stores whose images have one shape, so that episodes of one stream can come from any."""

from collections.abc import Sequence

from episodes.errors import UsageError
from episodes.store import Store


def alike(stores: Sequence[Store], channels: int = 1) -> tuple[Store, ...]:
    """The stores, or views of them, with images of one size and as many channels, `channels` or
    more.

    The size is that of the stores that cannot be resized; those that hold originals are, and grey
    images beside coloured ones have equal channels. Raises UsageError where sizes differ that
    cannot be made alike.
    """
    most = max(channels, *(store.channels for store in stores))
    fixed = {store.name: store.image_shape[:2] for store in stores if not _is_resizable(store)}
    sizes = set(fixed.values()) or {stores[0].image_shape[:2]}
    if len(sizes) > 1:
        found = ", ".join(f"{name} {height}x{width}" for name, (height, width) in fixed.items())
        raise UsageError(f"the stores' images differ in size ({found}); prepare them at one --size")
    height, width = next(iter(sizes))
    shape = (height, width, most)
    return tuple(
        store
        if not _is_resizable(store) and store.image_shape == shape
        else store.at_size(height, channels=most)
        for store in stores
    )


def _is_resizable(store: Store) -> bool:
    return store.info.keeps_originals and not store.is_view
