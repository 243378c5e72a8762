"""MSCOCO 2017 in small: photographs with several objects each, and their annotations."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from episodes.manifest import Manifest
from tests.episodes.layouts import Images, Writer
from tests.episodes.layouts.making import encoded, images_of, picture, shuffled

ARCHIVE, ANNOTATIONS = "train2017.zip", "annotations_trainval2017.zip"
INSTANCES = "instances_train2017.json"
WIDTH, HEIGHT = 40, 30
OBJECTS = 3  # of a photograph
GREY_EVERY = 5


def write_archives(folder: Path, facts: Manifest) -> Images:
    """The zip of annotations has those of other tasks and of the validation images too."""
    images, instances = _write_photographs(folder, facts)
    other = json.dumps({"images": [], "annotations": [{"image_id": 1}], "categories": []})
    with zipfile.ZipFile(folder / ANNOTATIONS, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("instances_val2017.json", "captions_train2017.json"):
            archive.writestr(f"annotations/{name}", other)
        archive.writestr(f"annotations/{INSTANCES}", json.dumps(instances))
        archive.writestr("annotations/person_keypoints_train2017.json", other)
    return images


def write_data_root(folder: Path, facts: Manifest) -> Images:
    images, instances = _write_photographs(folder, facts)
    (folder / INSTANCES).write_text(json.dumps(instances))
    return images


def _write_photographs(folder: Path, facts: Manifest) -> tuple[Images, dict[str, Any]]:
    """Some photographs are grey, some objects are crowds, some boxes touch edges.

    As in the real file, categories have gaps in their numbers, and come in an order of their own.
    """
    category = {name: 1 + 2 * place for place, name in enumerate(shuffled(facts.class_names))}
    cut_out: Images = {}
    annotations = []
    photographs = {}
    for number, class_name, _ in images_of(facts):
        photograph = 9 + 91 * (number // OBJECTS)
        file = f"{photograph:012d}.jpg"
        if file not in photographs:
            mode = "L" if photograph % GREY_EVERY == 0 else "RGB"
            photographs[file] = encoded(picture(photograph, WIDTH, HEIGHT, mode))
        crowd = number % 7 == 0
        object_id = 900100000000 + number if crowd else 156 + number
        box = [number % 23 + 0.13, number % 17 + 0.38, 5.5 + number % 11, 4.25 + number % 9]
        annotations.append(
            {
                "segmentation": {"counts": [272, 2, 4], "size": [30, 40]} if crowd else [[1.5, 2]],
                "area": 12.5,
                "iscrowd": int(crowd),
                "image_id": photograph,
                "bbox": box,
                "category_id": category[class_name],
                "id": object_id,
            }
        )
        cut_out[class_name, f"{photograph:012d}_{object_id}"] = _cut(photographs[file], box)
    names = shuffled(list(photographs))
    with zipfile.ZipFile(folder / ARCHIVE, "w") as archive:
        archive.writestr("train2017/000000000001.jpg", b"of no object, and never decoded")
        for name in names:
            archive.writestr(f"train2017/{name}", photographs[name])
    return cut_out, {
        "info": {"description": "COCO 2017 Dataset", "year": 2017},
        "licenses": [{"id": 1, "url": "http://example.org/", "name": "a licence"}],
        "images": [{"file_name": name, "id": int(name[:12])} for name in names],
        "annotations": annotations[1::2] + annotations[::2],
        "categories": [{"supercategory": "", "id": id, "name": n} for n, id in category.items()],
    }


def _cut(photograph: bytes, box: list[float]) -> np.ndarray:
    """By the words of the fact sheet: the box 1.2 times as large about its centre, then cut."""
    x, y, width, height = box
    left, right = x + width / 2 - 0.6 * width, x + width / 2 + 0.6 * width
    upper, lower = y + height / 2 - 0.6 * height, y + height / 2 + 0.6 * height
    with Image.open(io.BytesIO(photograph)) as image:
        edges = (
            max(round(left - 0.5), 0),
            max(round(upper - 0.5), 0),
            min(round(right - 0.5) + 1, image.width),
            min(round(lower - 0.5) + 1, image.height),
        )
        return np.asarray(image.convert("RGB").crop(edges))


LAYOUTS: dict[tuple[str, str], Writer] = {("mscoco", "archives"): write_archives}
