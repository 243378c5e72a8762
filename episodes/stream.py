"""Streams of episodes of one shape: as many classes, shots and queries in each."""

from collections.abc import Sequence

import numpy as np

from episodes.class_tables import class_table
from episodes.episode import Episode, EpisodeBatch
from episodes.episode_stream import EpisodeLoader, EpisodeStream
from episodes.errors import UsageError
from episodes.gathering import Reading, readings
from episodes.sampling import EpisodePlan, EpisodeSpec, PlanBatch, uniform
from episodes.store import Store

__all__ = ["Episode", "EpisodeBatch", "EpisodeLoader", "Stream", "stream"]


class Stream(EpisodeStream[EpisodeSpec, PlanBatch]):
    """Episodes of `spec.way` classes, drawn uniformly, as is what is drawn of their images.

    Also the space of tasks of samplers that draw them otherwise: a task's identity is a source and
    the positions of its classes in that source's class table, in label order, int64 [1 + way].
    See `EpisodeStream`. Raises UsageError where the split has fewer classes than the way, or a
    class has too few images, and where the stores' images differ in shape.
    """

    def __init__(
        self,
        stores: Sequence[Store],
        split: str,
        spec: EpisodeSpec,
        seed: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        super().__init__(stores, split, spec, seed, rank, world)
        shapes = {store.image_shape for store in stores}
        if len(shapes) > 1:
            raise UsageError(
                f"the stores' image shapes differ ({shapes}); prepare them at one --size"
            )
        self.class_tables = tuple(class_table(store, split, spec) for store in stores)

    @property
    def sources(self) -> int:
        """The stores."""
        return len(self.stores)

    @property
    def classes(self) -> int:
        """The classes of the split, of all stores."""
        return sum(len(table.class_ids) for table in self.class_tables)

    def canonical(self) -> str:
        """Split and spec as two unambiguous lines, which enter samplers' random keys."""
        return f"{self.split}\n{self.spec.canonical()}"

    def identities(self, start: int, count: int) -> np.ndarray:
        """int64 [count, 1 + way]: the tasks of episodes start .. start + count - 1.

        Raises UsageError for a share of a stream.
        """
        start, count = self._whole(start, count)
        return uniform.uniform_identities(self.class_tables, self.spec, self._key, start, count)

    def relabelled(self, identities: np.ndarray, words: np.ndarray) -> np.ndarray:
        """int64 [n, 1 + way]: the same tasks, labels permuted by uint64 words [n, way]."""
        return uniform.relabelled(identities, words)

    def plans_of(self, identities: np.ndarray, start: int) -> PlanBatch:
        """The plans of n tasks, with the images of episodes start .. start + n - 1.

        Of the identities of these episodes they are `plans(start, n)`. Raises UsageError where an
        identity is not a source and `way` distinct classes of it, and for a share of a stream.
        """
        start, _ = self._whole(start, len(identities))
        return uniform.plans_of(self.class_tables, self.spec, self._key, identities, start)

    def batch_of(
        self, identities: np.ndarray, start: int, out: np.ndarray | None = None
    ) -> EpisodeBatch:
        """The episodes of `plans_of`, gathered into `out` as `batch` does; index is start, ..."""
        return self._gathered(self.plans_of(identities, start), len(identities), out)

    def _whole(self, start: int, count: int) -> tuple[int, int]:
        if self.world > 1:
            raise UsageError(f"{self!r} has no tasks to choose among: take the whole stream")
        return self._checked(start, count)

    @property
    def _shape(self) -> str:
        return f"{self.spec.way}-way {self.spec.shot}-shot {self.spec.query}-query"

    @property
    def _most_images(self) -> int:
        return self.spec.support_size + self.spec.query_size

    def _plans(self, start: int, count: int) -> PlanBatch:
        return uniform.uniform_plans(
            self.class_tables, self.spec, self._key, start, count, self.world
        )

    def _plan(self, plans: PlanBatch, position: int) -> EpisodePlan:
        return EpisodePlan(
            index=plans.start + position * plans.step,
            source=int(plans.source[position]),
            class_ids=plans.class_ids[position],
            support_rows=plans.support_rows[position],
            support_labels=self.spec.support_labels,
            query_rows=plans.query_rows[position],
            query_labels=self.spec.query_labels,
        )

    def _readings(self, plans: PlanBatch, size: int) -> list[Reading]:
        return readings(self.stores, self.spec, plans, size, self._buffers)


def stream(
    stores: Store | Sequence[Store],
    split: str = "train",
    way: int = 5,
    shot: int | Sequence[int] = 1,
    query: int | Sequence[int] = 15,
    seed: int = 1,
    class_pool: Sequence[str] | None = None,
) -> Stream:
    """The stream of `way`-way, `shot`-shot episodes of a split of one store or of several.

    `split` is [SCHEME.]PART, such as "train", "lake.test" or "train+val"; `shot` and `query` are
    the images of each class, or one number for each of the `way` classes; `class_pool` names the
    classes to keep to; `seed` is the episode seed, any whole number.
    """
    chosen = [stores] if isinstance(stores, Store) else list(stores)
    pool = None if class_pool is None else tuple(class_pool)
    counts = [tuple(n) if isinstance(n, Sequence) else n for n in (shot, query)]
    return Stream(chosen, split, EpisodeSpec(way, counts[0], counts[1], pool), seed)
