"""Which classes of a store an episode can be drawn from."""

import numpy as np

from episodes.errors import UsageError
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
        raise UsageError(f"{where} has {len(class_ids)} classes; too few for way {spec.way}")
    table = table_of(store, class_ids)
    sizes = table.sizes
    smallest = int(np.argmin(sizes))
    if sizes[smallest] < least_images(spec):
        raise UsageError(
            f"the class {store.class_names[class_ids[smallest]]!r} of {where} has "
            f"{sizes[smallest]} images; too few for shot {spec.shot} + query {spec.query}"
        )
    return table


def table_of(store: Store, class_ids: np.ndarray) -> ClassTable:
    """The table of these classes, int64 [n], of a store."""
    return ClassTable(class_ids, store.class_starts[class_ids], store.class_sizes[class_ids])
