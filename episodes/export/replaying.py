"""From a plan back to episodes: its images found by class name and id in any store of them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from episodes.episode import Episode
from episodes.errors import EpisodesError, UsageError
from episodes.export.checking import check_files, stores_for
from episodes.export.description import PLAN, ExportInfo, read_info
from episodes.export.plan import PlannedEpisode, pixels_sha256, planned_episodes
from episodes.store import Store


def read_plan(folder: str | Path, store: Store | Sequence[Store]) -> Iterator[Episode]:
    """The episodes of the plan in `folder`, with the images that `store` has by those names.

    Neither row numbers nor the order of classes need be those of the store that the plan was made
    from; the pixels of every image must be. A plan of several stores needs as many. Raises
    UsageError for an export that is no plan, EpisodesError for a plan that is damaged, and for a
    class, an image or pixels that the store does not have.
    """
    folder = Path(folder)
    info = read_info(folder)
    if info.container != PLAN:
        raise UsageError(
            f"{folder} has the pixels, as {info.container}, and no plan: "
            "its episodes.json says how to read it"
        )
    check_files(folder, info)
    return _episodes(folder, info, [_Images(each) for each in stores_for(info, store)])


def _episodes(folder: Path, info: ExportInfo, stores: list["_Images"]) -> Iterator[Episode]:
    for planned in planned_episodes(folder, info.count):
        names = planned.names
        if not 0 <= names.source < len(stores):
            raise EpisodesError(f"episode {names.index} of {folder} is of store {names.source}")
        yield stores[names.source].episode(planned, info)


class _Images:
    """The images of a store by name."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._class_ids = {name: index for index, name in enumerate(store.class_names)}
        self._rows: dict[int, dict[str, int]] = {}

    def episode(self, planned: PlannedEpisode, info: ExportInfo) -> Episode:
        """The episode as planned; raises EpisodesError for what the store does not have."""
        names = planned.names
        made_from = info.stores[names.source]
        classes = [self._class_id(name, names.index) for name in names.class_names]
        ids = [*names.support_ids, *names.query_ids]
        rows = [
            self._row(classes[label], image_id, names.index)
            for label, image_id in zip(planned.labels, ids, strict=True)
        ]
        images = self._store.images(np.array(rows))
        for position, image in enumerate(images):
            if pixels_sha256(image) != planned.hashes[position]:
                class_name = names.class_names[planned.labels[position]]
                raise EpisodesError(
                    f"the image {class_name}/{ids[position]} of {self._store.name} has "
                    f"other pixels than in episode {names.index} of the plan: it is of "
                    f"{made_from['name']} with {made_from['preprocessing']}"
                )
        support, labels = len(names.support_ids), np.array(planned.labels, np.int64)
        return Episode(
            support_images=images[:support],
            support_labels=labels[:support],
            query_images=images[support:],
            query_labels=labels[support:],
            class_ids=np.array(classes, np.int64),
            index=names.index,
            source=names.source,
        )

    def _class_id(self, name: str, episode: int) -> int:
        if name not in self._class_ids:
            raise EpisodesError(
                f"{self._store.name} has no class {name!r}, which episode {episode} of the plan has"
            )
        return self._class_ids[name]

    def _row(self, class_id: int, image_id: str, episode: int) -> int:
        store = self._store
        if class_id not in self._rows:
            rows = store.class_starts[class_id] + np.arange(store.class_sizes[class_id])
            self._rows[class_id] = dict(zip(store.ids(rows), rows.tolist(), strict=True))
        if image_id not in self._rows[class_id]:
            raise EpisodesError(
                f"{store.name} has no image {image_id!r} of the class "
                f"{store.class_names[class_id]!r}, which episode {episode} of the plan has"
            )
        return self._rows[class_id][image_id]
