"""ILSVRC-2012's training images: a tar of 1,000 tars `n01440764.tar`, each of `n01440764_NNN.JPEG`.

The inner tars side by side in a folder, or class folders of their images, are read as well.
"""

import gzip
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from pathlib import Path, PurePosixPath

from episodes import manifest as manifests
from episodes.archive import Member, members, tar_members
from episodes.errors import EpisodesError
from episodes.manifest import Manifest, Source
from episodes.readers import Record, find, locate

INNER_TAR = re.compile(r"(n[0-9]{8})\.tar")
CLASS_FOLDER = re.compile(r"(n[0-9]{8})")
IMAGE = re.compile(r"(n[0-9]{8})_[0-9]+\.JPEG")
USUAL_FOLDER = "train"

Ids = Mapping[str, Mapping[str, str]]


def records(manifest: Manifest, source: Source, folder: Path, boxes: bool) -> Iterator[Record]:
    """The images of the manifest's classes, encoded, in the archives' order.

    Ids are ILSVRC's file names. Where the source has a `table` or `lists`, only the images named
    there are read; a table gives them ids of its own. Raises EpisodesError for a missing or
    damaged archive or list.
    """
    ids = _chosen(source, folder)
    for class_name, files in _classes(_root(source, folder), frozenset(manifest.class_names)):
        for file in files:
            name = PurePosixPath(file.name).name
            if ids is None:
                if IMAGE.fullmatch(name):
                    yield Record(class_name, name, file.read())
            elif (image_id := ids.get(class_name, {}).get(name)) is not None:
                yield Record(class_name, image_id, file.read())


def is_there(source: Source, folder: Path) -> bool:
    """Whether the images are in `folder` in any of the three forms, and the lists beside them."""
    images, *lists = source.files
    return (find(images, folder) is not None or _holds_images(folder)) and all(
        find(file, folder) is not None for file in lists
    )


def files_of_table(path: Path) -> dict[str, dict[str, str]]:
    """Of the table `path`, for each class: ILSVRC's file name to Ravi and Larochelle's.

    The number in their name, n0153282900000005.jpg, is the place of the file in its class, from 1,
    when the files are sorted by the number in ILSVRC's name.
    """
    with gzip.open(path, "rt", encoding="ascii") as file:
        _, *lines = file
    return {
        class_name: {
            f"{class_name}_{number}.JPEG": f"{class_name}{rank:08d}.jpg"
            for rank, number in zip(_summed(rank_gaps), _summed(number_gaps), strict=True)
        }
        for class_name, rank_gaps, number_gaps in (line.split("\t") for line in lines)
    }


def _summed(gaps: str) -> Iterator[int]:
    return accumulate(map(int, gaps.split()))


def _chosen(source: Source, folder: Path) -> Ids | None:
    """The ids of the images to read by class and file name; None where all are."""
    if table := source.parameters.get("table"):
        return files_of_table(manifests.folder() / table)
    if names := source.parameters.get("lists"):
        return _listed(locate(file, folder) for file in source.files if file.name in names)
    return None


def _listed(paths: Iterable[Path]) -> dict[str, dict[str, str]]:
    """The ids of CSV lists, whose columns are file name and class name below a line of headings."""
    ids: dict[str, dict[str, str]] = {}
    for path in paths:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        for number, line in enumerate(lines[1:], start=2):
            name, _, class_name = line.partition(",")
            match = IMAGE.fullmatch(name)
            if match and match[1] == class_name:
                ids.setdefault(class_name, {})[name] = name
            elif line:
                raise EpisodesError(
                    f"{path}: line {number} is {line[:60]!r}; expected an image and its class, "
                    "like n01614925_1001.JPEG,n01614925: fetch the file again"
                )
    return ids


def _root(source: Source, folder: Path) -> Path:
    """The outer tar, or the folder of inner tars or of class folders."""
    file = source.files[0]
    if find(file, folder) is None:
        for root in _folders(folder):
            if _looks_right(root):
                return root
    return locate(file, folder)


def _holds_images(folder: Path) -> bool:
    return any(_looks_right(root) for root in _folders(folder))


def _folders(folder: Path) -> Iterator[Path]:
    return (root for root in (folder / USUAL_FOLDER, folder) if root.is_dir())


def _looks_right(root: Path) -> bool:
    """Whether the folder `root` has an inner tar, or a class folder with one of its images.

    Other data sets have folders with such names too, so the images' names decide.
    """
    for entry in root.iterdir():
        if INNER_TAR.fullmatch(entry.name):
            return True
        is_class_folder = CLASS_FOLDER.fullmatch(entry.name) and entry.is_dir()
        if is_class_folder and any(IMAGE.fullmatch(image.name) for image in entry.iterdir()):
            return True
    return False


def _classes(root: Path, wanted: frozenset[str]) -> Iterator[tuple[str, Iterator[Member]]]:
    """The wanted classes below `root`, each with its files, which must be read in turn."""
    if root.is_dir():
        for entry in sorted(root.iterdir()):
            pattern = CLASS_FOLDER if entry.is_dir() else INNER_TAR
            if (match := pattern.fullmatch(entry.name)) and match[1] in wanted:
                yield match[1], members(entry)
        return
    for member in members(root):
        match = INNER_TAR.fullmatch(PurePosixPath(member.name).name)
        if match and match[1] in wanted:
            with member.open() as stream:
                yield match[1], tar_members(stream, f"{root}: {member.name}")
