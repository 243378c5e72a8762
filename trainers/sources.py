"""Where a run's tasks come from: a store of images, a family of functions, a user's file."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import episodes
from episodes import EpisodeBatch
from trainers import catalog, marks
from trainers.config import Settings
from trainers.tasks import FAMILIES, RegressionBatch, TaskFile, stream
from trainers.tasks.stream import SPLITS

REGRESSION_SCHEME = "tasks"
"""The split scheme of regression tasks, which have but one."""


class TaskStream(Protocol):
    """Episodes, or regression tasks, by number."""

    @property
    def split(self) -> str: ...

    @property
    def seed(self) -> int: ...

    def batches(
        self, size: int, start: int = 0, stop: int | None = None
    ) -> Iterable[EpisodeBatch] | Iterable[RegressionBatch]:
        """Batches of `size` from `start` to before `stop`."""

    def fingerprint(self, count: int) -> str:
        """The hash by which a paper can cite the first `count`."""


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

    @abstractmethod
    def outputs(self, way: int | None) -> int:
        """The outputs of a network for tasks of so many classes."""

    @abstractmethod
    def stream(self, split: str, way: int | None, shot: int, query: int, seed: int) -> TaskStream:
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


class StoreSource(Source):
    """Classification episodes of a store."""

    is_regression = False

    def __init__(self, dataset: str) -> None:
        store = episodes.open(dataset)
        is_path = store.path == Path(dataset)
        height, width, channels = store.image_shape
        self.store, self.name, self.digest = store, store.name, store.digest
        self.dataset = str(store.path.resolve()) if is_path else dataset
        self.input_shape = (channels, height, width)
        self.default_scheme = store.default_scheme
        self.training_defaults = dict(store.training_defaults)
        self.marks = tuple(store.info.marks)

    def outputs(self, way: int | None) -> int:
        """One a class."""
        assert way is not None
        return way

    def stream(self, split: str, way: int | None, shot: int, query: int, seed: int) -> TaskStream:
        """The store's stream."""
        assert way is not None
        return self.store.stream(split, way, shot, query, seed)

    def has(self, split: str) -> bool:
        """Whether the split has classes."""
        return len(self.store.split_classes(split)) > 0

    def recorded(self) -> Settings:
        """Name, digest, image shape, and what `trainers.marks` needs later."""
        channels, size, _ = self.input_shape
        shape: Settings = {"image_size": size, "channels": channels}
        return super().recorded() | shape | marks.recorded_facts(self.store)


class FamilySource(Source):
    """Regression tasks of a family of functions."""

    def __init__(self, name: str) -> None:
        self.dataset = self.name = name
        self.digest = hashlib.sha256(FAMILIES[name].canonical().encode()).hexdigest()
        self.input_shape = (1,)

    def outputs(self, way: int | None) -> int:
        """One value."""
        return 1

    def stream(self, split: str, way: int | None, shot: int, query: int, seed: int) -> TaskStream:
        """The family's stream."""
        return stream(self.name, _part(split), shot, query, seed)

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

    def stream(self, split: str, way: int | None, shot: int, query: int, seed: int) -> TaskStream:
        """The file's stream."""
        return self._file.stream(_part(split), shot, query, seed)

    def has(self, split: str) -> bool:
        """Whether a task of the file is in it."""
        return _part(split) in self._file.tasks


def open_source(dataset: str) -> Source:
    """The source that a dataset's name, a store's path, a family's name or a task file means.

    Raises UsageError and EpisodesError as `episodes.open` and `TaskFile`.
    """
    if dataset in FAMILIES:
        return FamilySource(dataset)
    if catalog.is_regression(dataset):
        return FileSource(Path(dataset))
    return StoreSource(dataset)


def _part(split: str) -> str:
    """PART of SCHEME.PART, for regression tasks have but one scheme."""
    return split.rpartition(".")[2]
