"""What a manifest holds: the facts of one dataset, as plain immutable values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from episodes.errors import UsageError

PARTS = ("train", "val", "test")
ACCESS_CLASSES = ("open", "gdrive", "login", "manual")


@dataclass(frozen=True)
class SourceFile:
    """One file of a source: its name, access class and mirrors in order.

    `bytes`, `sha256` and `md5` are there where they were published; `extracted` is the folder that
    it unpacks to, where that is taken in its place; `needed_for` names the only crop that needs it.
    """

    name: str
    access: str
    urls: tuple[str, ...]
    bytes: int | None = None
    sha256: str | None = None
    md5: str | None = None
    extracted: str | None = None
    needed_for: str | None = None


@dataclass(frozen=True)
class Source:
    """One way to come by a dataset's images: its files, and the reader of their layout.

    `instructions` say in one line how to get what cannot be fetched without an account; `downloads`
    is the folder for its files, where datasets share them (default: the dataset's own);
    `names_sha256` is the hash of all its images' CLASS/ID, sorted, one a line.
    """

    name: str
    reader: str
    files: tuple[SourceFile, ...]
    instructions: str = ""
    downloads: str | None = None
    names_sha256: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def access(self) -> str:
        """The access class of the hardest of its files."""
        return max((file.access for file in self.files), key=ACCESS_CLASSES.index, default="open")

    def files_for(self, crop: str) -> tuple[SourceFile, ...]:
        """The files that a preparation with `crop` ("none" or "box") needs."""
        return tuple(file for file in self.files if file.needed_for in (None, crop))


@dataclass(frozen=True)
class SplitScheme:
    """A published assignment of classes to train, val and test; image counts where known."""

    name: str
    source: str
    classes: Mapping[str, tuple[int, ...]]
    images: Mapping[str, int] | None = None


@dataclass(frozen=True)
class ImageFormat:
    """How images are kept: edge in pixels, channels, resize method, and the crops on offer."""

    size: int
    channels: int
    resize: str
    crops: tuple[str, ...] = ()


@dataclass(frozen=True)
class Normalisation:
    """The mean and standard deviation of each channel by which images are normalised.

    They are those of images in [0, 1], as torchvision's `Normalize` takes them; `source` says whose
    they are. Raises UsageError for numbers outside of [0, 1] and a standard deviation of 0.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: str = "your own"

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or not self.mean:
            raise UsageError(
                f"mean has {len(self.mean)} numbers, std {len(self.std)}; expected one a channel"
            )
        if not all(
            0 <= mean <= 1 and 0 < std <= 1 for mean, std in zip(self.mean, self.std, strict=True)
        ):
            raise UsageError(
                f"mean {self.mean}, std {self.std}: expected numbers of images in [0, 1]"
            )


@dataclass(frozen=True)
class Identity:
    """How to tell that a class is also another dataset's.

    Classes of one `namespace` are the same where group 1 of `pattern` in their names is.
    """

    namespace: str
    pattern: str


@dataclass(frozen=True)
class Twins:
    """Images of this dataset that are in another one too: CLASS/ID here to CLASS/ID there."""

    dataset: str
    images: Mapping[str, str]


@dataclass(frozen=True)
class MetaDataset:
    """What the dataset is in Meta-Dataset.

    `name` is its name there; `class_order` has the classes, by their positions in the class table,
    in the order of the class ids there; the two groups of `levels` take the superclass and the
    class from a class name, where its classes are of two levels. It cuts images to `crop` ("none"
    or "box"), and drops the manifest's twins or keeps them.
    """

    name: str
    class_order: tuple[int, ...]
    levels: str | None = None
    crop: str = "none"
    drop_twins: bool = False


@dataclass(frozen=True)
class Witness:
    """A content digest that was seen, and the preparation that it was seen for."""

    source: str
    crop: str
    size: int
    resize: str
    rotations: bool
    digest: str


@dataclass(frozen=True)
class Manifest:
    """The facts of one dataset.

    `class_images` counts each class's images where that is known; `normalisation` is None where
    nobody published constants, `meta_dataset` where it is no source of Meta-Dataset.
    """

    name: str
    title: str
    version: str
    homepage: str
    licence: str
    redistribution: bool
    citation: str
    image: ImageFormat
    images: int
    class_names: tuple[str, ...]
    class_images: tuple[int | None, ...]
    schemes: Mapping[str, SplitScheme]
    default_scheme: str
    sources: tuple[Source, ...]
    digest: str
    witnesses: tuple[Witness, ...] = ()
    training: Mapping[str, int | float] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    identity: Identity | None = None
    twins: Twins | None = None
    normalisation: Normalisation | None = None
    meta_dataset: MetaDataset | None = None

    @property
    def generated(self) -> bool:
        """Whether the dataset is made here, by the one source that has no files."""
        return len(self.sources) == 1 and not self.sources[0].files

    @property
    def fetched_source(self) -> Source:
        """The source that is fetched where none is given: the first that needs no account."""
        for source in self.sources:
            if source.access in ("open", "gdrive"):
                return source
        return self.sources[0]
