"""CUB-200-2011 in small: `CUB_200_2011.tgz` with its lists, its grey JPEGs and its stray file."""

import re
import tarfile
from pathlib import Path

from episodes.manifest import Manifest
from tests.episodes.layouts import Images, Writer
from tests.episodes.layouts.making import add, encoded, images_of, lines, picture, shuffled

ROOT = "CUB_200_2011"
GREY_EVERY = 7


def write_archive(folder: Path, facts: Manifest) -> Images:
    """Some of the birds are in grey; a class's last image is an ImageNet twin, where it has one."""
    images: Images = {}
    for number, class_name, place in images_of(facts):
        mode = "L" if number % GREY_EVERY == 0 else "RGB"
        file = _file_name(facts, class_name, number, place)
        images[class_name, file] = encoded(picture(number, mode=mode))

    names = shuffled([f"{class_name}/{file}" for class_name, file in images])
    listed = {name: number for number, name in enumerate(sorted(names), start=1)}
    classes = {name: number for number, name in enumerate(facts.class_names, start=1)}
    # Every fifth box goes beyond the picture's 8 x 6 pixels, as boxes in the real list touch edges.
    boxes = [
        f"{number} {number % 3}.0 {number % 2}.0 {8 if number % 5 == 0 else 5}.0 4.0"
        for number in listed.values()
    ]
    texts = {
        "README": "===\nThe Caltech-UCSD Birds-200-2011 Dataset\n===\n",
        "images.txt": lines([f"{number} {name}" for name, number in listed.items()]),
        "image_class_labels.txt": lines(
            [f"{number} {classes[name.split('/')[0]]}" for name, number in listed.items()]
        ),
        "train_test_split.txt": lines([f"{n} {n % 2}" for n in listed.values()]),
        "classes.txt": lines([f"{number} {name}" for name, number in classes.items()]),
        "attributes/certainties.txt": "1 not visible\n2 guessing\n3 probably\n4 definitely\n",
        "attributes/class_attribute_labels_continuous.txt": "0.0 2.5 100.0\n",
        "attributes/image_attribute_labels.txt": "1 1 0 3 27.7080\n",
        "parts/parts.txt": "1 back\n2 beak\n",
        "parts/part_locs.txt": "1 1 0.0 0.0 0\n",
        "parts/part_click_locs.txt": "1 1 312.0 182.0 1 21.93\n",
    }
    with tarfile.open(folder / "CUB_200_2011.tgz", "w:gz", compresslevel=1) as tar:
        add(tar, "attributes.txt", "1 has_bill_shape::curved_(up_or_down)\n")
        add(tar, ROOT, None)
        for name, text in texts.items():
            add(tar, f"{ROOT}/{name}", text)
        for class_name in shuffled(facts.class_names):
            add(tar, f"{ROOT}/images/{class_name}", None)
            for name in names:
                of_class, file = name.split("/")
                if of_class == class_name:
                    add(tar, f"{ROOT}/images/{name}", images[of_class, file])
        add(tar, f"{ROOT}/bounding_boxes.txt", lines(boxes))
    return images


def _file_name(facts: Manifest, class_name: str, number: int, place: int) -> str:
    count = facts.class_images[facts.class_names.index(class_name)]
    if place and place + 1 == count and facts.twins is not None:
        twins = (name.split("/") for name in facts.twins.images)
        for of_class, file in twins:
            if of_class == class_name:
                return file
    species = re.sub(r"^\d+\.", "", class_name).title()
    return f"{species}_{place + 1:04d}_{number + 1}.jpg"


LAYOUTS: dict[tuple[str, str], Writer] = {("cub", "archive"): write_archive}
