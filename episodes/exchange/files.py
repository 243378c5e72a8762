"""The files of a store that store.json vouches for."""

from episodes.store.layout import IndexInfo, ShardInfo, StoreInfo

StoreFile = ShardInfo | IndexInfo


def files_of(info: StoreInfo) -> list[StoreFile]:
    """Every shard and index: name, size and SHA-256 of each."""
    pairs = ((shard, shard.index) for shard in info.shards)
    return [file for pair in pairs for file in pair if file is not None]
