"""Streams of episodes of variable way and shot, as Meta-Dataset's."""

from collections.abc import Sequence

from episodes import manifest
from episodes.alike import alike
from episodes.class_tables import table_of
from episodes.episode_stream import EpisodeStream
from episodes.padding import PaddedReading, padded_shapes, shape_for
from episodes.sampling import ClassTable, EpisodePlan, VariablePlans, VariableSpec
from episodes.sampling.pooled_classes import pooled_classes
from episodes.sampling.pools import Pools, flat_pools, pools_of
from episodes.sampling.variable import variable_plans
from episodes.store import Store


class VariableStream(EpisodeStream[VariableSpec, VariablePlans]):
    """Episodes whose classes, shots and queries are drawn by Meta-Dataset's rules.

    See `EpisodeStream` and `VariableSpec`. A batch is a `PaddedBatch` of the smallest of a few
    shapes, so what it is filled up to depends on the batch, what is in it does not. Of ImageNet all
    classes of an episode are below one node of WordNet, of Omniglot they are of one alphabet. Grey
    stores beside colour ones, or with `channels` 3, give grey images of three channels.
    """

    def __init__(
        self,
        stores: Sequence[Store],
        split: str,
        spec: VariableSpec | None = None,
        seed: int = 1,
        rank: int = 0,
        world: int = 1,
        *,
        channels: int = 1,
    ) -> None:
        chosen = alike(stores, channels) if stores else ()
        super().__init__(chosen, split, spec or VariableSpec(), seed, rank, world)
        self.class_tables = tuple(
            table_of(store, store.split_classes(split)) for store in self.stores
        )
        pools = [
            _pools(store, split, table)
            for store, table in zip(self.stores, self.class_tables, strict=True)
        ]
        self._classes = pooled_classes(self.class_tables, pools, self.spec)
        self.shapes = padded_shapes(self.spec)

    @property
    def _shape(self) -> str:
        ways = f"{self.spec.min_ways} to {self.spec.most_ways}-way"
        return f"{self.spec.way}-way" if self.spec.way is not None else ways

    @property
    def _most_images(self) -> int:
        return self.spec.most_rows

    def _plans(self, start: int, count: int) -> VariablePlans:
        return variable_plans(self._classes, self.spec, self._key, start, count, self.world)

    def _plan(self, plans: VariablePlans, position: int) -> EpisodePlan:
        return plans[position]

    def _readings(self, plans: VariablePlans, size: int) -> list[PaddedReading]:
        some = [plans.part(first, first + size) for first in range(0, max(1, len(plans)), size)]
        return [
            PaddedReading(self.stores, part, shape_for(self.shapes, part), self._buffers)
            for part in some
        ]


def _pools(store: Store, split: str, table: ClassTable) -> Pools:
    """As the shipped manifest says; one pool for a user's own images and unions of parts."""
    scheme, _, part = store.split_name(split).rpartition(".")
    names = [store.class_names[index] for index in table.class_ids]
    if store.info.dataset not in manifest.names() or "+" in part:
        return flat_pools(len(names))
    return pools_of(manifest.load(store.info.dataset), scheme, part, names)
