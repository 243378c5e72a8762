"""GTSRB in small: `GTSRB_Final_Training_Images.zip`, PPMs of several sizes and a list a class."""

import zipfile
from pathlib import Path

from episodes.manifest import Manifest
from tests.episodes.layouts import Images, Writer
from tests.episodes.layouts.making import encoded, images_of, lines, picture, shuffled

ARCHIVE = "GTSRB_Final_Training_Images.zip"
ROOT = "GTSRB/Final_Training/Images"
HEADER = "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId"


def write_archive(folder: Path, facts: Manifest) -> Images:
    """Two frames a track."""
    images: Images = {}
    rows: dict[str, list[str]] = {name: [HEADER] for name in facts.class_names}
    for number, class_name, place in images_of(facts):
        file = f"{place // 2:05d}_{place % 2:05d}.ppm"
        width, height = 8 + number % 3, 6 + number % 2
        images[class_name, file] = encoded(picture(number, width, height), "PPM")
        rows[class_name].append(f"{file};{width};{height};1;1;5;4;{int(class_name[:2])}")
    with zipfile.ZipFile(folder / ARCHIVE, "w") as archive:
        archive.writestr("GTSRB/Readme-Images-Final-Training.txt", "READ ME\n")
        for class_name in shuffled(facts.class_names):
            inside = f"{ROOT}/{int(class_name[:2]):05d}"
            archive.writestr(f"{inside}/GT-{int(class_name[:2]):05d}.csv", lines(rows[class_name]))
            for of_class, file in reversed(images):
                if of_class == class_name:
                    archive.writestr(f"{inside}/{file}", images[of_class, file])
    return images


LAYOUTS: dict[tuple[str, str], Writer] = {("traffic-sign", "archive"): write_archive}
