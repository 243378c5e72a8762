"""Where a run's tasks come from: a store of images, a family of functions, a user's file."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import episodes
from episodes import EpisodeBatch
from episodes.alike import alike
from episodes.sampling import VariableSpec
from episodes.variable_stream import VariableStream
from trainers import catalog, marks
from trainers.config import Settings, Shape
from trainers.tasks import FAMILIES, RegressionBatch, TaskFile, stream
from trainers.tasks.stream import SPLITS

OFFICIAL_SCHEME = "meta-dataset"
USUAL_RESIZE = "bilinear"
REGRESSION_SCHEME = "tasks"
"""The split scheme of regression tasks, which have but one."""


class TaskStream(Protocol):
    """Episodes, or regression tasks, by number."""

    @property
    def split(self) -> str: ...

    @property
    def seed(self) -> int: ...

    def batch(self, start: int, size: int) -> EpisodeBatch | RegressionBatch:
        """`size` tasks from `start`."""

    def batches(
        self, size: int, start: int = 0, stop: int | None = None
    ) -> Iterable[EpisodeBatch] | Iterable[RegressionBatch]:
        """Batches of `size` from `start` to before `stop`."""

    def fingerprint(self, count: int) -> str:
        """The hash by which a paper can cite the first `count`."""


class TaskShape(Protocol):
    """What a learner must know of a source's tasks."""

    @property
    def input_shape(self) -> tuple[int, ...]: ...

    @property
    def is_regression(self) -> bool: ...

    def outputs(self, way: int | None) -> int:
        """The outputs of a network for tasks of so many classes; None: of any number."""


class Source(ABC):
    """Tasks by split, of one shape.

    `name` and `digest` identify what they are made from; `input_shape` is (channels, height, width)
    or (d,); `dataset` is what to open it by again.
    """

    dataset: str
    name: str
    digest: str
    input_shape: tuple[int, ...]
    is_regression: bool = True
    default_scheme: str = REGRESSION_SCHEME
    training_defaults: Mapping[str, Any] = {}
    marks: tuple[str, ...] = ()
    stores: "Sequence[episodes.Store]" = ()

    @abstractmethod
    def outputs(self, way: int | None) -> int:
        """The outputs of a network for tasks of so many classes; None: of any number."""

    def most_images(self, shape: Shape) -> tuple[int, int]:
        """The most support and query images, or points, of a task of this shape."""
        way = shape.way or 1
        return way * _given(shape.shot), way * _given(shape.query)

    @abstractmethod
    def stream(self, split: str, shape: Shape, seed: int) -> TaskStream:
        """The tasks of `split`, SCHEME.PART; raises UsageError where it cannot give such."""

    @abstractmethod
    def has(self, split: str) -> bool:
        """Whether the split, SCHEME.PART, has tasks at all."""

    def recorded(self) -> Settings:
        """What config.toml says of it, for `assessment.check_fits`."""
        found: Settings = {"name": self.name, "digest": self.digest}
        if self.is_regression:
            shape = "x".join(map(str, self.input_shape))
            found |= {"input_shape": shape, "outputs": self.outputs(None)}
        return found


class ImageSource(Source):
    """Classification episodes of stores, whose names have commas between them."""

    is_regression = False

    def __init__(self, stores: "Sequence[episodes.Store]", names: Sequence[str]) -> None:
        first = stores[0]
        height, width, channels = first.image_shape
        self.stores = stores
        self.dataset = ",".join(map(dataset_of, stores, names))
        self.name = "+".join(store.name for store in stores)
        self.digest = marks.combined_digest([store.digest for store in stores])
        self.input_shape = (channels, height, width)
        self.default_scheme = first.default_scheme
        self.training_defaults = dict(first.training_defaults)
        self.marks = marks.marks_of(stores)

    def has(self, split: str) -> bool:
        """Whether a store has classes in it."""
        return any(len(store.split_classes(split)) for store in self.stores)

    def recorded(self) -> Settings:
        """Name, digest, how images were made what they are, and what `trainers.marks` needs."""
        channels, size, _ = self.input_shape
        shape: Settings = {"image_size": size, "channels": channels}
        shape["resize"] = str(self.stores[0].info.preprocessing.get("resize", USUAL_RESIZE))
        shape["licence"] = "; ".join(dict.fromkeys(store.info.licence for store in self.stores))
        return super().recorded() | shape | marks.recorded_facts(*self.stores)


class StoreSource(ImageSource):
    """Episodes of one shape, of one store."""

    def __init__(self, dataset: str) -> None:
        super().__init__([episodes.open(dataset)], [dataset])

    def outputs(self, way: int | None) -> int:
        """One a class."""
        assert way is not None
        return way

    def stream(self, split: str, shape: Shape, seed: int) -> TaskStream:
        """The store's stream."""
        way, shot, query = (_given(count) for count in shape)
        return self.stores[0].stream(split, way, shot, query, seed)


class FamilySource(Source):
    """Regression tasks of a family of functions."""

    def __init__(self, name: str) -> None:
        self.dataset = self.name = name
        self.digest = hashlib.sha256(FAMILIES[name].canonical().encode()).hexdigest()
        self.input_shape = (1,)

    def outputs(self, way: int | None) -> int:
        """One value."""
        return 1

    def stream(self, split: str, shape: Shape, seed: int) -> TaskStream:
        """The family's stream."""
        return stream(self.name, _part(split), _given(shape.shot), _given(shape.query), seed)

    def has(self, split: str) -> bool:
        """Each has tasks without end."""
        return _part(split) in SPLITS


class FileSource(Source):
    """Regression tasks of a user's file."""

    def __init__(self, path: Path) -> None:
        self._file = TaskFile(path)
        self.dataset, self.name = str(path.resolve()), path.stem
        self.digest = hashlib.sha256(path.read_bytes()).hexdigest()
        shape = self._file.input_shape
        self.input_shape = (shape[2], *shape[:2]) if len(shape) == 3 else shape

    def outputs(self, way: int | None) -> int:
        """The values of a target."""
        return self._file.outputs

    def stream(self, split: str, shape: Shape, seed: int) -> TaskStream:
        """The file's stream."""
        return self._file.stream(_part(split), _given(shape.shot), _given(shape.query), seed)

    def has(self, split: str) -> bool:
        """Whether a task of the file is in it."""
        return _part(split) in self._file.tasks


class VariableSource(ImageSource):
    """Episodes of variable way and shot, of one store or of several.

    Grey images are given `channels` alike.
    """

    def __init__(self, datasets: str, channels: int = 1) -> None:
        names = datasets.split(",")
        super().__init__(alike(list(map(episodes.open, names)), channels), names)
        if all(OFFICIAL_SCHEME in store.info.splits for store in self.stores):
            self.default_scheme = OFFICIAL_SCHEME

    def outputs(self, way: int | None) -> int:
        """One a class, of the most that an episode can have."""
        return VariableSpec(way=way).most_ways

    def most_images(self, shape: Shape) -> tuple[int, int]:
        """The most support and query images of an episode."""
        spec = VariableSpec(*shape)
        return spec.most_support, spec.most_query

    def stream(self, split: str, shape: Shape, seed: int) -> TaskStream:
        """The stream over those stores that have classes in the split."""
        having = [store for store in self.stores if len(store.split_classes(split))]
        channels = self.input_shape[0]
        return VariableStream(having, split, VariableSpec(*shape), seed, channels=channels)


def dataset_of(store: "episodes.Store", name: str) -> str:
    """What to open a store by again that was opened by `name`."""
    return str(store.path.resolve()) if store.path == Path(name) else name


def open_source(dataset: str, sampler: str = "uniform", channels: int | None = None) -> Source:
    """The source that a dataset's name, a store's path, a family's name or a task file means.

    Under the sampler meta-dataset, several stores, whose images have `channels` at least. Raises
    UsageError and EpisodesError as `episodes.open` and `TaskFile`.
    """
    if sampler == "meta-dataset" and not catalog.is_regression(dataset):
        return VariableSource(dataset, channels or 1)
    if dataset in FAMILIES:
        return FamilySource(dataset)
    if catalog.is_regression(dataset):
        return FileSource(Path(dataset))
    return StoreSource(dataset)


def _given(count: int | None) -> int:
    assert count is not None
    return count


def _part(split: str) -> str:
    """PART of SCHEME.PART, for regression tasks have but one scheme."""
    return split.rpartition(".")[2]
