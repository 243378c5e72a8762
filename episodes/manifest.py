"""Manifests: what a dataset is, where its files come from, and which class belongs to which split.

`manifests/NAME.toml` holds the facts, `manifests/NAME.classes.tsv` a row for each class, in class
order, with one column for each split scheme.
"""

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from episodes.errors import EpisodesError, unknown_name

PARTS = ("train", "val", "test")
ACCESS_CLASSES = ("open", "gdrive", "login", "manual")


@dataclass(frozen=True)
class SourceFile:
    """One archive of a dataset: its name, size in bytes, checksums, access class and mirrors."""

    name: str
    bytes: int
    sha256: str
    access: str
    urls: tuple[str, ...]
    md5: str | None = None


@dataclass(frozen=True)
class SplitScheme:
    """A published assignment of classes to train, val and test."""

    name: str
    source: str
    classes: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class ImageFormat:
    """How images are kept: edge length in pixels, channels, and the resize filter."""

    size: int
    channels: int
    resize: str


@dataclass(frozen=True)
class Witness:
    """A content digest that was seen, and the preparation that it was seen for."""

    size: int
    resize: str
    rotations: bool
    decoder: str
    digest: str


@dataclass(frozen=True)
class Manifest:
    """The facts of one dataset."""

    name: str
    title: str
    version: str
    reader: str
    homepage: str
    licence: str
    redistribution: bool
    citation: str
    image: ImageFormat
    images: int
    images_per_class: int | None
    class_names: tuple[str, ...]
    schemes: Mapping[str, SplitScheme]
    default_scheme: str
    files: tuple[SourceFile, ...]
    witnesses: tuple[Witness, ...]
    digest: str
    training: Mapping[str, int | float] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def generated(self) -> bool:
        """Whether the dataset is made here rather than read from archives."""
        return not self.files


def folder() -> Path:
    """The folder of the shipped manifests: in the installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    installed = package / "manifests"
    return installed if installed.is_dir() else package.parent / "manifests"


def names() -> list[str]:
    """The datasets that have a manifest, in alphabetical order."""
    return sorted(path.stem for path in folder().glob("*.toml"))


def load(name: str) -> Manifest:
    """The shipped manifest of the dataset `name`; raises UsageError with the nearest match."""
    if name not in names():
        raise unknown_name("dataset", name, names())
    return parse(folder() / f"{name}.toml")


def parse(path: Path) -> Manifest:
    """The manifest in the TOML file `path` and its class table beside it.

    Raises EpisodesError naming file and key for what is missing, ill-typed or inconsistent.
    """
    text = _read(path)
    try:
        table = _Table(path, "", tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise EpisodesError(f"{path.name}: not valid TOML: {error}") from None
    classes_path = path.with_suffix(".classes.tsv")
    classes_text = _read(classes_path)
    class_names, columns = _parse_class_table(classes_path.name, classes_text)

    counts = table.table("counts")
    if counts.get("classes", int) != len(class_names):
        raise EpisodesError(
            f"{path.name}: counts.classes is {counts.get('classes', int)}, "
            f"but {classes_path.name} has {len(class_names)} rows"
        )
    schemes = _schemes(table.table("splits"), columns)
    image = table.table("image")
    return Manifest(
        name=table.get("name", str, must_equal=path.stem),
        title=table.get("title", str),
        version=table.get("version", str),
        reader=table.get("reader", str),
        homepage=table.get("homepage", str),
        licence=table.get("licence", str),
        redistribution=table.get("redistribution", bool),
        citation=table.get("citation", str),
        image=ImageFormat(
            image.get("size", int), image.get("channels", int), image.get("resize", str)
        ),
        images=counts.get("images", int),
        images_per_class=counts.get("images_per_class", int, default=None),
        class_names=class_names,
        schemes=schemes,
        default_scheme=_default_scheme(table.table("splits")),
        files=tuple(_source_file(entry) for entry in table.tables("files")),
        witnesses=tuple(_witness(entry) for entry in table.tables("witnessed")),
        digest=hashlib.sha256(text.encode() + b"\0" + classes_text.encode()).hexdigest(),
        training=dict(table.optional_table("training").values),
        parameters=dict(table.optional_table("parameters").values),
    )


class _Table:
    """A TOML table that names its file and key in every error."""

    def __init__(self, path: Path, prefix: str, values: Mapping[str, Any]) -> None:
        self.path, self.prefix, self.values = path, prefix, values

    def get(self, key: str, kind: type, default: Any = ..., must_equal: Any = ...) -> Any:
        if key not in self.values:
            if default is not ...:
                return default
            raise self.error(key, f"is missing; expected {_article(kind)}")
        value = self.values[key]
        if type(value) is not kind:
            raise self.error(key, f"is {value!r}; expected {_article(kind)}")
        if isinstance(value, int) and value < 0:
            raise self.error(key, f"is {value}; expected 0 or more")
        if must_equal is not ... and value != must_equal:
            raise self.error(key, f"is {value!r}; expected {must_equal!r}")
        return value

    def table(self, key: str) -> "_Table":
        return _Table(self.path, f"{self.prefix}{key}.", self.get(key, dict))

    def optional_table(self, key: str) -> "_Table":
        return _Table(self.path, f"{self.prefix}{key}.", self.get(key, dict, default={}))

    def tables(self, key: str) -> list["_Table"]:
        entries = self.get(key, list, default=[])
        if not all(isinstance(entry, dict) for entry in entries):
            raise self.error(key, "must be an array of tables: write [[" + key + "]]")
        return [_Table(self.path, f"{key}[{i}].", entry) for i, entry in enumerate(entries)]

    def error(self, key: str, what: str) -> EpisodesError:
        return EpisodesError(f"{self.path.name}: {self.prefix}{key} {what}")


def _article(kind: type) -> str:
    return {str: "a string", int: "an integer", bool: "true or false", dict: "a table"}.get(
        kind, "an array"
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise EpisodesError(f"{path.name} is missing from {path.parent}") from None
    except UnicodeDecodeError:
        raise EpisodesError(f"{path.name}: not UTF-8 text") from None


def _parse_class_table(file: str, text: str) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    header, *rows = [line.split("\t") for line in text.splitlines()] or [[""]]
    if header[0] != "class" or len(header) < 2:
        raise EpisodesError(f"{file}: line 1 must be 'class' and the split schemes, tab-separated")
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise EpisodesError(
                f"{file}: line {number} has {len(row)} cells; expected {len(header)}"
            )
        for scheme, cell in zip(header[1:], row[1:], strict=True):
            if cell not in (*PARTS, "-"):
                raise EpisodesError(
                    f"{file}: line {number}, {scheme}: {cell!r} is none of train, val, test, -"
                )
    class_names = tuple(row[0] for row in rows)
    if len(set(class_names)) != len(class_names):
        repeated = next(name for name in class_names if class_names.count(name) > 1)
        raise EpisodesError(f"{file}: the class {repeated!r} is listed more than once")
    columns = {
        scheme: tuple(row[column] for row in rows) for column, scheme in enumerate(header[1:], 1)
    }
    return class_names, columns


def _schemes(splits: _Table, columns: Mapping[str, tuple[str, ...]]) -> dict[str, SplitScheme]:
    if set(splits.values) != set(columns):
        raise splits.error(
            "*", f"names the schemes {sorted(splits.values)}; the class table {sorted(columns)}"
        )
    schemes = {}
    for name, column in columns.items():
        declared = splits.table(name)
        classes = {
            part: tuple(index for index, cell in enumerate(column) if cell == part)
            for part in PARTS
        }
        for part in PARTS:
            if declared.get(part, int) != len(classes[part]):
                raise declared.error(
                    part,
                    f"is {declared.get(part, int)}, but the class table has {len(classes[part])}",
                )
        schemes[name] = SplitScheme(name, declared.get("source", str), classes)
    return schemes


def _default_scheme(splits: _Table) -> str:
    defaults = [
        name for name in splits.values if splits.table(name).get("default", bool, default=False)
    ]
    if len(defaults) != 1:
        raise splits.error("*", f"must have exactly one default = true; found {defaults}")
    return defaults[0]


def _source_file(entry: _Table) -> SourceFile:
    access = entry.get("access", str)
    if access not in ACCESS_CLASSES:
        raise entry.error("access", f"is {access!r}; expected one of {', '.join(ACCESS_CLASSES)}")
    return SourceFile(
        name=entry.get("name", str),
        bytes=entry.get("bytes", int),
        sha256=entry.get("sha256", str),
        access=access,
        urls=tuple(entry.get("urls", list)),
        md5=entry.get("md5", str, default=None),
    )


def _witness(entry: _Table) -> Witness:
    return Witness(
        size=entry.get("size", int),
        resize=entry.get("resize", str),
        rotations=entry.get("rotations", bool, default=False),
        decoder=entry.get("decoder", str),
        digest=entry.get("digest", str),
    )
