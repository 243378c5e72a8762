"""Streams of episodes of one shape: as many classes, shots and queries in each."""

from collections.abc import Sequence

from episodes.class_tables import class_table
from episodes.episode import Episode, EpisodeBatch
from episodes.episode_stream import EpisodeLoader, EpisodeStream
from episodes.errors import UsageError
from episodes.gathering import Reading, readings
from episodes.sampling import EpisodePlan, EpisodeSpec, PlanBatch
from episodes.sampling.uniform import uniform_plans
from episodes.store import Store

__all__ = ["Episode", "EpisodeBatch", "EpisodeLoader", "Stream", "stream"]


class Stream(EpisodeStream[EpisodeSpec, PlanBatch]):
    """Episodes of `spec.way` classes, drawn uniformly, as is what is drawn of their images.

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
    def _shape(self) -> str:
        return f"{self.spec.way}-way {self.spec.shot}-shot {self.spec.query}-query"

    @property
    def _most_images(self) -> int:
        return self.spec.support_size + self.spec.query_size

    def _plans(self, start: int, count: int) -> PlanBatch:
        return uniform_plans(self.class_tables, self.spec, self._key, start, count, self.world)

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
