"""Which classes of a store an episode can be drawn from."""

import numpy as np

from episodes.errors import UsageError, some_of
from episodes.sampling import ClassTable, EpisodeSpec
from episodes.sampling.spec import least_images
from episodes.store import Store


def class_table(store: Store, split: str, spec: EpisodeSpec) -> ClassTable:
    """The classes of `split`, kept to the spec's pool; raises UsageError where they are too few."""
    class_ids = store.split_classes(split)
    where = f"{store.name} {store.split_name(split)}"
    if spec.class_pool is not None:
        names = {store.class_names[index]: index for index in class_ids}
        if absent := [name for name in spec.class_pool if name not in names]:
            raise UsageError(f"class_pool names {absent[0]!r}, which is not in {where}")
        class_ids = np.array(sorted(names[name] for name in spec.class_pool), np.int64)
    if len(class_ids) < spec.way:
        others = [] if spec.class_pool else _splits_with(store, spec.way)
        raise UsageError(
            f"{where} has {len(class_ids)} classes; too few for way {spec.way}"
            + _remedy(len(class_ids), others)
        )
    table = table_of(store, class_ids)
    sizes = table.sizes
    smallest = int(np.argmin(sizes))
    if sizes[smallest] < least_images(spec):
        raise UsageError(
            f"the class {store.class_names[class_ids[smallest]]!r} of {where} has "
            f"{sizes[smallest]} images; too few for shot {spec.shot} + query {spec.query}"
        )
    return table


def _splits_with(store: Store, way: int) -> list[str]:
    """The splits of a store that have so many classes."""
    return [
        f"{scheme}.{part}"
        for scheme, parts in store.info.splits.items()
        for part, class_ids in parts.items()
        if len(class_ids) >= way
    ]


def _remedy(count: int, splits: list[str]) -> str:
    choices = [f"way {count} or less"] if count > 1 else []
    if splits:
        choices.append(f"a split with more classes ({some_of(splits)})")
    return f": choose {', or '.join(choices)}" if choices else ""


def table_of(store: Store, class_ids: np.ndarray) -> ClassTable:
    """The table of these classes, int64 [n], of a store."""
    return ClassTable(class_ids, store.class_starts[class_ids], store.class_sizes[class_ids])
