"""Describable Textures in small: `dtd-r1.0.1.tar.gz`, with the file that was left in it."""

import tarfile
from pathlib import Path

from episodes.manifest import Manifest
from tests.episodes.layouts import Images, Writer
from tests.episodes.layouts.making import add, encoded, images_of, lines, picture, shuffled


def write_archive(folder: Path, facts: Manifest) -> Images:
    """The numbers in the names have gaps; `images/waffled/.directory` is no image."""
    images: Images = {}
    for number, texture, place in images_of(facts):
        images[texture, f"{texture}_{57 + 7 * place:04d}.jpg"] = encoded(picture(number))
    files = shuffled([f"{texture}/{file}" for texture, file in images])
    with tarfile.open(folder / "dtd-r1.0.1.tar.gz", "w:gz", compresslevel=1) as tar:
        add(tar, "dtd", None)
        for part in range(1, 11):
            for name in ("train", "val", "test"):
                add(tar, f"dtd/labels/{name}{part}.txt", lines(files[part::3]))
        add(tar, "dtd/images", None)
        add(tar, "dtd/images/waffled/.directory", "[Dolphin]\nTimestamp=2013,4,9,15,2,36\n")
        for file in files:
            texture, name = file.split("/")
            add(tar, f"dtd/images/{file}", images[texture, name])
        add(tar, "dtd/labels/labels_joint_anno.txt", lines([f"{f} {f[:4]}" for f in files]))
        add(tar, "dtd/imdb/imdb.mat", b"MATLAB 5.0 MAT-file")
    return images


LAYOUTS: dict[tuple[str, str], Writer] = {("dtd", "archive"): write_archive}
