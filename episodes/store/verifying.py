"""Checking a store against its description: the files' hashes, and the content digest."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from episodes.archive import file_sha256
from episodes.errors import EpisodesError
from episodes.store.digest import ContentDigest, shape_and_hash
from episodes.store.layout import StoreInfo

if TYPE_CHECKING:
    from episodes.store import Store

ROWS_AT_ONCE = 256


def verify_files(folder: Path, info: StoreInfo) -> None:
    """Compare the SHA-256 of every shard and index; raises EpisodesError naming the first."""
    advice = f"type {info.command_to_replace(folder)}"
    for shard in info.shards:
        for file in (shard, shard.index):
            if file is None:
                continue
            path = folder / file.file
            try:
                found = file_sha256(path)
            except OSError as error:
                raise EpisodesError(f"{path} cannot be read: {error.strerror}: {advice}") from None
            if found != file.sha256:
                kind = "shard" if file is shard else "index"
                raise EpisodesError(
                    f"the {kind} {path} is damaged: its SHA-256 differs from store.json's: {advice}"
                )


def content_digest(store: "Store") -> str:
    """The content digest of what is on the disk, by all cores, in bounded memory."""
    digest = ContentDigest()
    with ThreadPoolExecutor(thread_name_prefix="digest") as pool:
        for name, start, size in zip(
            store.class_names, store.class_starts, store.class_sizes, strict=True
        ):
            digest.start_class(name)
            rows = np.arange(start, start + size)
            blocks = np.split(rows, range(ROWS_AT_ONCE, size, ROWS_AT_ONCE))
            hashes = pool.map(lambda block: _hashes(store, block), blocks)
            for block, of_block in zip(blocks, hashes, strict=True):
                digest.add_hashed_rows(store.ids(block), of_block)
    return digest.hexdigest()


def _hashes(store: "Store", rows: np.ndarray) -> list[tuple[tuple[int, int, int], bytes]]:
    images = store.images(rows) if store.info.keeps_pixels else map(store.image, rows)
    return [shape_and_hash(image) for image in images]
