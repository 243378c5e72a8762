"""A folder of class folders: PATH/CLASS/..., or PATH/PART/CLASS/... where it is divided already."""

import os
from collections.abc import Iterator
from pathlib import Path

from episodes.errors import EpisodesError, UsageError
from episodes.own.collection import (
    Collection,
    Item,
    id_of_image,
    mark_of,
    name_of_class,
    read_file,
    some_of,
)
from episodes.prepare.building import natural_order

SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff")
    + (".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".tga")
)
PART_FOLDERS = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
LEFT_BY_SYSTEMS = ("__MACOSX",)


def images_in_folder(path: Path) -> Collection:
    """The images of the class folders in `path`; folders inside a class folder belong to it.

    Where the folders are named train, val and test and hold folders, the classes are one level
    deeper, and divided. Links are followed. Hidden files and files without an image's suffix are
    passed over and counted in the notes, as are classes without images. Raises EpisodesError for
    images outside of every class, and for what cannot be read.
    """
    if not path.is_dir():
        raise UsageError(f"{path} is not a folder; expected one that holds a folder a class")
    ignored: list[str] = []
    folders, loose = _listing(path, ignored)
    divided = _is_divided(path, folders)
    parts: dict[str, str] = {}
    if divided:
        parts, folders, more_loose = _classes_of_parts(folders, ignored)
        loose += more_loose
    if loose:
        raise EpisodesError(
            f"{len(loose):,} image(s) are in no class folder ({some_of([str(p) for p in loose])}): "
            f"move them into {path}/{'PART/' if divided else ''}CLASS/"
        )
    items: list[Item] = []
    empty: list[str] = []
    for folder in folders:
        found = list(_items_of_class(folder, ignored))
        items += found
        if not found:
            empty.append(folder.name)
            parts.pop(_class_of(folder), None)
    if not items:
        raise EpisodesError(f"{path} holds no images: expected {path}/CLASS/*.jpg or the like")
    return Collection(
        "folder",
        f"the folder {path.resolve().name}",
        tuple(items),
        read_file,
        parts=parts or None,
        divided_by="the folders train, val and test" if divided else "",
        notes=tuple(_notes(ignored, empty)),
    )


def loose_images(path: Path) -> tuple[list[Path], list[str]] | None:
    """The images of a folder without class folders, in natural order, and notes as a collection's;
    None where it holds folders.

    Raises UsageError for what is no folder, EpisodesError for one that holds no images.
    """
    if not path.is_dir():
        raise UsageError(f"{path} is not a folder; expected one that holds images")
    ignored: list[str] = []
    folders, images = _listing(path, ignored)
    if folders:
        return None
    if not images:
        raise EpisodesError(f"{path} holds no images: expected {path}/*.jpg or the like")
    return images, list(_notes(ignored, []))


def _is_divided(path: Path, folders: list[Path]) -> bool:
    """Whether the folders are splits that hold the classes; raises UsageError where some are."""
    parts = [folder for folder in folders if folder.name.lower() in PART_FOLDERS]
    holding = [folder for folder in parts if _listing(folder, [])[0]]
    others = [folder.name for folder in folders if folder not in parts]
    if len(holding) > 1 and others:
        raise UsageError(
            f"{path} holds {holding[0].name} and {holding[1].name}, which hold folders, beside "
            f"{some_of(others)}: keep either splits or classes in it, and move the rest away"
        )
    return bool(holding) and not others


def _classes_of_parts(
    part_folders: list[Path], ignored: list[str]
) -> tuple[dict[str, str], list[Path], list[Path]]:
    """The part of each class, the class folders, and the images that are in none of them."""
    parts: dict[str, str] = {}
    folders: list[Path] = []
    loose: list[Path] = []
    for part_folder in part_folders:
        part = PART_FOLDERS[part_folder.name.lower()]
        inside, outside = _listing(part_folder, ignored)
        for name in map(_class_of, inside):
            if name in parts:
                raise EpisodesError(
                    f"the class {name!r} is in {part_folder} and in {parts[name]} too: a split "
                    f"divides classes, not images: move all of a class into one of them, or give "
                    f"{part_folder} alone"
                )
            parts[name] = part
        folders += inside
        loose += outside
    return parts, folders, loose


def _items_of_class(folder: Path, ignored: list[str]) -> Iterator[Item]:
    name = _class_of(folder)
    for path in _images_below(folder, ignored, ()):
        relative = path.relative_to(folder).as_posix()
        yield Item(name, id_of_image(relative, str(folder)), str(path), mark_of(path))


def _images_below(
    folder: Path, ignored: list[str], above: tuple[tuple[int, int], ...]
) -> Iterator[Path]:
    status = folder.stat()
    identity = status.st_dev, status.st_ino
    if identity in above:
        raise EpisodesError(f"{folder} is a link to a folder that it is in: remove it")
    folders, images = _listing(folder, ignored)
    yield from images
    for inner in folders:
        yield from _images_below(inner, ignored, (*above, identity))


def _listing(folder: Path, ignored: list[str]) -> tuple[list[Path], list[Path]]:
    """The folders and the images in `folder`, in natural order; the rest goes to `ignored`."""
    folders: list[Path] = []
    images: list[Path] = []
    try:
        names = sorted(os.listdir(folder), key=natural_order)
    except OSError as error:
        raise EpisodesError(f"cannot read {folder}: {error.strerror}") from None
    for path in map(folder.joinpath, names):
        if path.name.startswith(".") or path.name in LEFT_BY_SYSTEMS:
            ignored.append(path.name)
        elif path.is_dir():
            folders.append(path)
        elif path.suffix.lower() not in SUFFIXES:
            ignored.append(path.name)
        elif path.is_file():
            images.append(path)
        else:
            raise EpisodesError(f"{path} is a broken link or no file: remove or mend it")
    return folders, images


def _class_of(folder: Path) -> str:
    return name_of_class(folder.name, str(folder.parent))


def _notes(ignored: list[str], empty: list[str]) -> Iterator[str]:
    if ignored:
        yield (
            f"passed over {len(ignored):,} file(s) that are hidden or have no image's suffix: "
            f"{some_of(ignored)}"
        )
    if empty:
        yield f"passed over {len(empty):,} class folder(s) without images: {some_of(empty)}"
