"""tieredImageNet: from ILSVRC-2012's tar, or as the pickles of Ren et al."""

import io
import tarfile
from pathlib import Path

import numpy as np

from episodes.manifest import PARTS, Manifest
from tests.episodes.layouts import Images, imagenet, python2

NOT_OURS = {
    "n03126707": "crane",
    "n03710637": "maillot",
    "n15075141": "toilet tissue, bathroom tissue",
}
DUPLICATES = {"n02012849": "crane", "n03710721": "maillot"}  # in the class table, all of train


def class_title(class_name: str) -> str:
    """The line of class_names.txt: words, not unique among ILSVRC's 1,000 classes."""
    return NOT_OURS.get(class_name) or DUPLICATES.get(class_name) or f"thing {class_name[1:]}, it"


def pickles(facts: Manifest) -> tuple[dict[str, bytes], Images]:
    """The eight files by name, and the images in them.

    Images are PNGs in uint8 arrays [N, 1]; a label is a place in its split's own list of classes,
    which came from a directory listing, so its order means nothing.
    """
    wnids = sorted([*facts.class_names, *NOT_OURS])
    files = {
        "synsets.txt": "".join(f"{name}\n" for name in wnids).encode(),
        "class_names.txt": "".join(f"{class_title(name)}\n" for name in wnids).encode(),
    }
    images: Images = {}
    for part in PARTS:
        indices = facts.schemes["ren2018"].classes[part]
        classes = [facts.class_names[index] for index in reversed(indices)]
        labels = np.repeat(
            np.arange(len(classes), dtype=np.int32),
            [facts.class_images[index] or 0 for index in reversed(indices)],
        )
        encoded = [imagenet.picture(row % 9, "RGB", "PNG") for row in range(len(labels))]
        for row, (label, image) in enumerate(zip(labels, encoded, strict=True)):
            images[classes[label], f"{part}-{row:06d}"] = image
        files[f"{part}_labels.pkl"] = python2.dumps(
            {
                "label_specific": labels,
                "label_general": labels // 10,
                "label_specific_str": [class_title(name) for name in classes],
                "label_general_str": ["animal", "device"],
            }
        )
        files[f"{part}_images_png.pkl"] = python2.dumps(
            [np.frombuffer(image, np.uint8)[:, np.newaxis] for image in encoded]
        )
    return files, images


def write_loose(folder: Path, facts: Manifest) -> Images:
    """The files as Zenodo has them, with a prefix."""
    files, images = pickles(facts)
    for name, content in files.items():
        (folder / f"tiered-imagenet-{name}").write_bytes(content)
    return images


def write_archive(folder: Path, facts: Manifest) -> Images:
    """The tar with images before labels, so that neither can be read in one pass."""
    files, images = pickles(facts)
    with tarfile.open(folder / "tiered-imagenet.tar", "w") as tar:
        for name in sorted(files, key=lambda name: ("images" not in name, name)):
            entry = tarfile.TarInfo(f"tiered-imagenet/{name}")
            entry.size = len(files[name])
            tar.addfile(entry, io.BytesIO(files[name]))
    return images


def write_ilsvrc(folder: Path, facts: Manifest) -> Images:
    """ILSVRC's tar, which has classes that are not tieredImageNet's."""
    classes = imagenet.chosen_files(facts)
    imagenet.write_tar(folder, classes, strangers=NOT_OURS)
    return imagenet.images_of(classes)


LAYOUTS = {
    ("tieredimagenet", "ilsvrc-train"): write_ilsvrc,
    ("tieredimagenet", "pickles"): write_loose,
    ("tieredimagenet", "pickles-archive"): write_archive,
}
