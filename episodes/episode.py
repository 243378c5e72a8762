"""Episodes as arrays: one, or a batch of them."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Episode:
    """One episode: uint8 images [n, H, W, C] and int64 labels [n] of its support and query sets.

    `class_ids` is int64 [way], `index` its number in the stream, `source` the store it is from.
    """

    support_images: np.ndarray
    support_labels: np.ndarray
    query_images: np.ndarray
    query_labels: np.ndarray
    class_ids: np.ndarray
    index: int
    source: int


@dataclass(frozen=True)
class EpisodeBatch:
    """Several episodes: the arrays of `Episode` with a leading axis; `index` and `source` [n].

    The two image arrays are views of one buffer, which is used again only once nobody holds a view
    of it any more.
    """

    support_images: np.ndarray
    support_labels: np.ndarray
    query_images: np.ndarray
    query_labels: np.ndarray
    class_ids: np.ndarray
    index: np.ndarray
    source: np.ndarray

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, position: int) -> Episode:
        return Episode(
            support_images=self.support_images[position],
            support_labels=self.support_labels[position],
            query_images=self.query_images[position],
            query_labels=self.query_labels[position],
            class_ids=self.class_ids[position],
            index=int(self.index[position]),
            source=int(self.source[position]),
        )


@dataclass(frozen=True)
class PaddedBatch(EpisodeBatch):
    """Several episodes of different sizes, filled up to one shape.

    `ways` is int64 [n]; `support_mask` and `query_mask`, bool [n, support] and [n, query], tell
    images from filling, which is black and has label -1. `class_ids` is int64 [n, most ways], -1
    from each way on. An episode by itself has no filling.
    """

    ways: np.ndarray
    support_mask: np.ndarray
    query_mask: np.ndarray

    def __getitem__(self, position: int) -> Episode:
        support = self.support_mask[position].sum()
        query = self.query_mask[position].sum()
        return Episode(
            support_images=self.support_images[position, :support],
            support_labels=self.support_labels[position, :support],
            query_images=self.query_images[position, :query],
            query_labels=self.query_labels[position, :query],
            class_ids=self.class_ids[position, : self.ways[position]],
            index=int(self.index[position]),
            source=int(self.source[position]),
        )
