"""FGVCx Fungi in small: the photographs' tgz, the annotations as a tgz or as two JSON files."""

import json
import tarfile
from pathlib import Path
from typing import Any

from episodes.manifest import Manifest
from tests.episodes.layouts import Images, Writer
from tests.episodes.layouts.making import add, encoded, images_of, picture, shuffled

ARCHIVE, ANNOTATIONS = "fungi_train_val.tgz", "train_val_annotations.tgz"


def write_archives(folder: Path, facts: Manifest) -> Images:
    images, parts = _write_photographs(folder, facts)
    with tarfile.open(folder / ANNOTATIONS, "w:gz", compresslevel=1) as tar:
        for name, content in parts.items():
            add(tar, name, json.dumps(content))
    return images


def write_data_root(folder: Path, facts: Manifest) -> Images:
    images, parts = _write_photographs(folder, facts)
    for name, content in parts.items():
        (folder / name).write_text(json.dumps(content))
    return images


def _write_photographs(folder: Path, facts: Manifest) -> tuple[Images, dict[str, Any]]:
    """The photographs' tgz; both parts list all categories, in another order than their numbers'.

    Every fourth image is of val.json; the ids of images go on from one part to the other.
    """
    images: Images = {}
    categories = [
        {"id": int(name[:4]), "name": name[5:], "supercategory": "Fungi"}
        for name in shuffled(facts.class_names)
    ]
    parts: dict[str, Any] = {
        name: {
            "info": {"year": 2018, "description": "a part of it"},
            "annotations": [],
            "categories": categories,
            "licenses": [],
            "images": [],
        }
        for name in ("train.json", "val.json")
    }
    for number, class_name, _ in images_of(facts):
        part = parts["val.json" if number % 4 == 3 else "train.json"]
        file = f"images/{10000 + 13 * number}_{class_name[:4]}.JPG"
        images[class_name, file.removeprefix("images/")] = encoded(picture(number))
        part["images"].append({"id": number, "width": 8, "height": 6, "file_name": file})
        part["annotations"].append(
            {"id": number, "image_id": number, "category_id": int(class_name[:4])}
        )
    for part in parts.values():
        part["annotations"].reverse()
    by_file = {f"images/{file}": content for (_, file), content in images.items()}
    with tarfile.open(folder / ARCHIVE, "w:gz", compresslevel=1) as tar:
        add(tar, "images", None)
        add(tar, "images/00000_unlabelled.JPG", encoded(picture(1)))
        for file in shuffled(list(by_file)):
            add(tar, file, by_file[file])
    return images, parts


LAYOUTS: dict[tuple[str, str], Writer] = {("fungi", "archives"): write_archives}
