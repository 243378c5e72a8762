"""Manifests: what a dataset is, where its files come from, and which class belongs to which split.

`manifests/NAME.toml` holds the facts, `manifests/NAME.classes.tsv` a row for each class, in class
order, with one column for each split scheme and, where known, the number of images.
"""

import hashlib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

from episodes.errors import EpisodesError, UsageError, unknown_name
from episodes.manifest.class_table import ClassTable, parse_class_table
from episodes.manifest.facts import (
    ACCESS_CLASSES,
    PARTS,
    Identity,
    ImageFormat,
    Manifest,
    MetaDataset,
    Normalisation,
    Source,
    SourceFile,
    SplitScheme,
    Twins,
    Witness,
)
from episodes.manifest.file_table import listed_files
from episodes.manifest.meta_dataset import parse_meta_dataset
from episodes.manifest.toml_table import Table, read_text

__all__ = [
    "ACCESS_CLASSES",
    "PARTS",
    "Identity",
    "ImageFormat",
    "Manifest",
    "MetaDataset",
    "Normalisation",
    "Source",
    "SourceFile",
    "SplitScheme",
    "Twins",
    "Witness",
    "folder",
    "load",
    "names",
    "parse",
]


def folder() -> Path:
    """The folder of the shipped manifests: in the installed package, or beside it in a checkout."""
    package = Path(__file__).parent.parent
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
    text = read_text(path)
    try:
        table = Table(path, "", tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise EpisodesError(f"{path.name}: not valid TOML: {error}") from None
    classes_path = path.with_suffix(".classes.tsv")
    classes_text = read_text(classes_path)
    classes = parse_class_table(classes_path.name, classes_text)

    schemes = _schemes(table.table("splits"), classes.columns)
    counts = table.table("counts")
    if counts.get("classes", int) != len(classes.names):
        raise EpisodesError(
            f"{path.name}: counts.classes is {counts.get('classes', int)}, "
            f"but {classes_path.name} has {len(classes.names)} rows"
        )
    image = table.table("image")
    return Manifest(
        name=table.get("name", str, must_equal=path.stem),
        title=table.get("title", str),
        version=table.get("version", str),
        homepage=table.get("homepage", str),
        licence=table.get("licence", str),
        redistribution=table.get("redistribution", bool),
        citation=table.get("citation", str),
        image=ImageFormat(
            image.get("size", int),
            image.get("channels", int),
            image.get("resize", str),
            image.strings("crops"),
        ),
        images=counts.get("images", int),
        class_names=classes.names,
        class_images=_class_images(counts, classes),
        schemes=schemes,
        default_scheme=_default_scheme(table.table("splits")),
        sources=_sources(table),
        digest=_digest(text, classes_text, *_texts_beside(table)),
        witnesses=tuple(_witness(entry) for entry in table.tables("witnessed")),
        training=dict(table.optional_table("training").values),
        parameters=dict(table.optional_table("parameters").values),
        identity=_identity(table),
        twins=_twins(table),
        normalisation=_normalisation(table),
        meta_dataset=parse_meta_dataset(table, classes.names, schemes),
    )


def _class_images(counts: Table, classes: ClassTable) -> tuple[int | None, ...]:
    each = counts.get("images_per_class", int, default=None)
    images = classes.images if each is None else (each,) * len(classes.names)
    known = [count for count in images if count is not None]
    if len(known) == len(images) and sum(known) != counts.get("images", int):
        raise counts.error(
            "images", f"is {counts.get('images', int)}, but the classes' images sum to {sum(known)}"
        )
    return images


def _schemes(splits: Table, columns: Mapping[str, tuple[str, ...]]) -> dict[str, SplitScheme]:
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
        counts = declared.optional_table("images")
        images = {part: counts.get(part, int) for part in PARTS} if counts.values else None
        schemes[name] = SplitScheme(name, declared.get("source", str), classes, images)
    return schemes


def _default_scheme(splits: Table) -> str:
    defaults = [
        name for name in splits.values if splits.table(name).get("default", bool, default=False)
    ]
    if len(defaults) != 1:
        raise splits.error("*", f"must have exactly one default = true; found {defaults}")
    return defaults[0]


def _sources(table: Table) -> tuple[Source, ...]:
    sources = tuple(
        Source(
            name=entry.get("name", str),
            reader=entry.get("reader", str),
            files=(*map(_source_file, entry.tables("files")), *listed_files(entry)),
            instructions=entry.get("instructions", str, default=""),
            downloads=entry.get("downloads", str, default=None),
            names_sha256=entry.get("names_sha256", str, default=None),
            parameters=dict(entry.optional_table("parameters").values),
        )
        for entry in table.tables("sources")
    )
    if not sources:
        raise table.error("sources", "is missing; expected [[sources]]")
    return sources


def _source_file(entry: Table) -> SourceFile:
    access = entry.get("access", str)
    if access not in ACCESS_CLASSES:
        raise entry.error("access", f"is {access!r}; expected one of {', '.join(ACCESS_CLASSES)}")
    urls = entry.strings("urls")
    if not urls:
        raise entry.error("urls", "is empty; expected where the file can be had")
    return SourceFile(
        name=entry.get("name", str),
        access=access,
        urls=urls,
        bytes=entry.get("bytes", int, default=None),
        sha256=entry.get("sha256", str, default=None),
        md5=entry.get("md5", str, default=None),
        extracted=entry.get("extracted", str, default=None),
        needed_for=entry.get("needed_for", str, default=None),
    )


def _witness(entry: Table) -> Witness:
    return Witness(
        source=entry.get("source", str),
        crop=entry.get("crop", str, default="none"),
        size=entry.get("size", int),
        resize=entry.get("resize", str),
        rotations=entry.get("rotations", bool, default=False),
        digest=entry.get("digest", str),
    )


def _identity(table: Table) -> Identity | None:
    entry = table.optional_table("identity")
    if not entry.values:
        return None
    pattern = entry.get("pattern", str)
    try:
        groups = re.compile(pattern).groups
    except re.error:
        groups = 0
    if groups != 1:
        raise entry.error("pattern", f"is {pattern!r}; expected a pattern with exactly one group")
    return Identity(entry.get("namespace", str), pattern)


def _normalisation(table: Table) -> Normalisation | None:
    entry = table.optional_table("normalisation")
    if not entry.values:
        return None
    # Numbers stand as they were published: of images in which white is 1, or of levels to 255.
    white = entry.get("white", int)
    if white not in (1, 255):
        raise entry.error("white", f"is {white}; expected 1 or 255")
    mean, std = (tuple(number / white for number in entry.numbers(key)) for key in ("mean", "std"))
    channels = table.table("image").get("channels", int)
    if len(mean) != channels:
        raise entry.error("mean", f"has {len(mean)} numbers; image.channels is {channels}")
    try:
        return Normalisation(mean, std, entry.get("source", str))
    except UsageError as error:
        raise entry.error("*", f"is wrong: {error}") from None


def _digest(*texts: str) -> str:
    """The hash of all that a manifest consists of."""
    return hashlib.sha256("\0".join(filter(None, texts)).encode()).hexdigest()


def _texts_beside(table: Table) -> list[str]:
    """The files that the manifest names, in a fixed order."""
    named = (("twins", "file"), ("meta_dataset", "order"))
    entries = [(table.optional_table(name), key) for name, key in named]
    entries += [(source, "files_table") for source in table.tables("sources")]
    return [entry.text_beside(key) for entry, key in entries if key in entry.values]


def _twins(table: Table) -> Twins | None:
    entry = table.optional_table("twins")
    if not entry.values:
        return None
    header, *rows = [line.split("\t") for line in entry.text_beside("file").splitlines()] or [[""]]
    if header != ["image", "twin"] or any(len(row) != 2 for row in rows):
        raise entry.error("file", "names a table without exactly two columns, image and twin")
    return Twins(entry.get("dataset", str), dict(rows))
