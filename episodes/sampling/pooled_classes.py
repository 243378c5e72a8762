"""The classes of several sources with their pools, laid out for the sampler."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from episodes.errors import UsageError
from episodes.sampling.pools import Pools
from episodes.sampling.spec import ClassTable
from episodes.sampling.variable_spec import VariableSpec

LEAST_CLASSES = 2


@dataclass(frozen=True)
class PooledClasses:
    """The pools of all sources, end to end, as the sampler reads them: int64 but for `draws_way`.

    Of each pool's classes, pool after pool, `class_ids`, `starts` (first row) and `sizes`; of each
    pool its `first` class, its `counts` of classes and whether it `draws_way`; of each source its
    `first_pool`, its `pool_counts`, and `flat_pool`, the pool of all its classes.
    """

    class_ids: np.ndarray
    starts: np.ndarray
    sizes: np.ndarray
    first: np.ndarray
    counts: np.ndarray
    draws_way: np.ndarray
    first_pool: np.ndarray
    pool_counts: np.ndarray
    flat_pool: np.ndarray


def pooled_classes(
    tables: Sequence[ClassTable], pools: Sequence[Pools], spec: VariableSpec
) -> PooledClasses:
    """The classes that `spec` draws from, of each source's table and pools.

    Classes with fewer images than `min_examples_in_class` are left out, then pools with fewer than
    two classes. Raises UsageError where that leaves nothing, where a class has too few images or a
    pool too few classes for the spec, and where the weights are not one a source.
    """
    if len(tables) != len(pools) or not tables:
        raise UsageError(f"{len(tables)} class tables with {len(pools)} pools; expected one each")
    if spec.source_weights is not None and len(spec.source_weights) != len(tables):
        raise UsageError(
            f"source_weights has {len(spec.source_weights)} numbers for {len(tables)} sources; "
            "expected one for each"
        )
    kept = [
        _kept(source, table, of_source, spec)
        for source, (table, of_source) in enumerate(zip(tables, pools, strict=True))
    ]
    members = [pool for of_source in kept for pool in of_source]
    pool_counts = np.array([len(of_source) for of_source in kept])
    counts = np.array([len(pool) for pool in members])
    ends = np.cumsum(pool_counts)
    draws_way = [
        of_source.draws_way or position == len(some) - 1
        for of_source, some in zip(pools, kept, strict=True)
        for position in range(len(some))
    ]
    class_ids, starts, sizes = (
        np.concatenate(
            [
                getattr(table, name)[np.concatenate(some)]
                for table, some in zip(tables, kept, strict=True)
            ]
        ).astype(np.int64)
        for name in ("class_ids", "starts", "sizes")
    )
    return PooledClasses(
        class_ids=class_ids,
        starts=starts,
        sizes=sizes,
        first=np.cumsum(counts) - counts,
        counts=counts,
        draws_way=np.array(draws_way),
        first_pool=ends - pool_counts,
        pool_counts=pool_counts - 1,
        flat_pool=ends - 1,
    )


def _kept(source: int, table: ClassTable, pools: Pools, spec: VariableSpec) -> list[np.ndarray]:
    """The source's pools as positions in its table, and after them the pool of all its classes."""
    large = table.sizes >= spec.min_examples_in_class
    chosen = [np.array(pool, np.int64) for pool in pools.classes]
    chosen = [pool[large[pool]] for pool in chosen]
    chosen = [pool for pool in chosen if len(pool) >= LEAST_CLASSES]
    everything = np.flatnonzero(large)
    if not chosen:
        raise UsageError(
            f"source {source} has no pool of {LEAST_CLASSES} classes with "
            f"{spec.min_examples_in_class} images or more; lower min_examples_in_class"
        )
    smallest = everything[np.argmin(table.sizes[everything])]
    if table.sizes[smallest] < spec.least_images:
        raise UsageError(
            f"class {table.class_ids[smallest]} of source {source} has {table.sizes[smallest]} "
            f"images; the spec needs {spec.least_images}: ask for a smaller shot or query, or for "
            f"min_examples_in_class={spec.least_images}"
        )
    fewest = min(map(len, chosen))
    if spec.way is not None and fewest < spec.way:
        raise UsageError(
            f"a pool of source {source} has {fewest} classes; too few for way {spec.way}: take a "
            "smaller way, or pools that are flat"
        )
    return [*chosen, everything]
