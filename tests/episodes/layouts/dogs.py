"""Stanford Dogs in small: `images.tar`, one PNG in it called .jpg, and `annotation.tar`."""

import tarfile
from pathlib import Path

from episodes.manifest import Manifest
from tests.episodes.layouts import Images, Writer
from tests.episodes.layouts.making import add, encoded, images_of, picture, shuffled

PNG_CLASS, PNG_NAME = "n02105855-Shetland_sheepdog", "n02105855_2933"

OBJECT = """\t<object>
\t\t<name>{breed}</name>
\t\t<pose>Unspecified</pose>
\t\t<truncated>0</truncated>
\t\t<difficult>0</difficult>
\t\t<bndbox>
\t\t\t<xmin>{0}</xmin>
\t\t\t<ymin>{1}</ymin>
\t\t\t<xmax>{2}</xmax>
\t\t\t<ymax>{3}</ymax>
\t\t</bndbox>
\t</object>
"""
ANNOTATION = """<annotation>
\t<folder>{wnid}</folder>
\t<filename>{stem}</filename>
\t<source>
\t\t<database>ImageNet database</database>
\t</source>
\t<size>
\t\t<width>8</width>
\t\t<height>6</height>
\t\t<depth>3</depth>
\t</size>
\t<segment>0</segment>
{objects}</annotation>
"""


def write_archive(folder: Path, facts: Manifest) -> Images:
    """Every third image has two dogs."""
    images: Images = {}
    annotations: dict[str, str] = {}
    for number, class_name, place in images_of(facts):
        wnid, breed = class_name.split("-", 1)
        odd_one = (class_name, place) == (PNG_CLASS, 0)
        stem = PNG_NAME if odd_one else f"{wnid}_{10 + 37 * number}"
        image = picture(number, mode="RGBA" if odd_one else "RGB")
        images[class_name, f"{stem}.jpg"] = encoded(image, "PNG" if odd_one else "JPEG")
        boxes = [(number % 3, number % 2, 6 + number % 3, 5)] + [(0, 0, 2, 2)] * (number % 3 == 0)
        annotations[f"{class_name}/{stem}"] = ANNOTATION.format(
            wnid=wnid.removeprefix("n"),
            stem=stem,
            objects="".join(OBJECT.format(*box, breed=breed) for box in boxes),
        )
    with tarfile.open(folder / "images.tar", "w") as tar:
        add(tar, "Images", None)
        for class_name in shuffled(facts.class_names):
            add(tar, f"Images/{class_name}", None)
            for of_class, file in images:
                if of_class == class_name:
                    add(tar, f"Images/{class_name}/{file}", images[of_class, file])
    with tarfile.open(folder / "annotation.tar", "w") as tar:
        add(tar, "Annotation", None)
        for name in shuffled(list(annotations)):
            add(tar, f"Annotation/{name}", annotations[name])
    return images


LAYOUTS: dict[tuple[str, str], Writer] = {("dogs", "archive"): write_archive}
