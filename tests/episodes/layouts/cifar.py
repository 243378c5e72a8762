"""CIFAR: the python and binary archives of both, and what was re-packed for CIFAR-FS and FC100."""

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from episodes.manifest import PARTS, Manifest
from tests.episodes.layouts import Images, python2

SUPERCLASSES = {
    "aquatic_mammals": "beaver dolphin otter seal whale",
    "fish": "aquarium_fish flatfish ray shark trout",
    "flowers": "orchid poppy rose sunflower tulip",
    "food_containers": "bottle bowl can cup plate",
    "fruit_and_vegetables": "apple mushroom orange pear sweet_pepper",
    "household_electrical_devices": "clock keyboard lamp telephone television",
    "household_furniture": "bed chair couch table wardrobe",
    "insects": "bee beetle butterfly caterpillar cockroach",
    "large_carnivores": "bear leopard lion tiger wolf",
    "large_man-made_outdoor_things": "bridge castle house road skyscraper",
    "large_natural_outdoor_scenes": "cloud forest mountain plain sea",
    "large_omnivores_and_herbivores": "camel cattle chimpanzee elephant kangaroo",
    "medium_mammals": "fox porcupine possum raccoon skunk",
    "non-insect_invertebrates": "crab lobster snail spider worm",
    "people": "baby boy girl man woman",
    "reptiles": "crocodile dinosaur lizard snake turtle",
    "small_mammals": "hamster mouse rabbit shrew squirrel",
    "trees": "maple_tree oak_tree palm_tree pine_tree willow_tree",
    "vehicles_1": "bicycle bus motorcycle pickup_truck train",
    "vehicles_2": "lawn_mower rocket streetcar tank tractor",
}
COARSE_LABEL = {
    name: label for label, names in enumerate(SUPERCLASSES.values()) for name in names.split()
}
FINE_NAMES = sorted(COARSE_LABEL)
OFFICIAL_PARTS = ("train", "test")
NAMES_10 = [
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
]


def batches(facts: Manifest) -> dict[str, tuple[list[int], np.ndarray]]:
    """Of the official train and test: labels [N] in no order, and pixels [N, 32, 32, 3].

    A class's last image is in test, the others in train; where only test is read, all are in it,
    and train has another two.
    """
    random = np.random.default_rng(0)
    labels: dict[str, list[int]] = {"train": [], "test": []}
    for label, name in enumerate(sorted(facts.class_names)):
        count = facts.class_images[facts.class_names.index(name)] or 0
        in_test = count if read_parts(facts) == ["test"] else 1
        labels["train"] += [label] * (2 if read_parts(facts) == ["test"] else count - 1)
        labels["test"] += [label] * in_test
    return {
        part: (
            random.permutation(labels[part]).tolist(),
            random.integers(0, 256, (len(labels[part]), 32, 32, 3), np.uint8),
        )
        for part in OFFICIAL_PARTS
    }


def read_parts(facts: Manifest) -> list[str]:
    """The official parts that belong to the dataset."""
    return ["test"] if facts.name in ("cifar-10", "cifar-100") else list(OFFICIAL_PARTS)


def images_of(facts: Manifest) -> Images:
    """The images by class and id, which is the official part and the place in it."""
    names = sorted(facts.class_names)
    return {
        (names[label], f"{part}-{place:05d}"): pixels
        for part, (labels, images) in batches(facts).items()
        if part in read_parts(facts)
        for place, (label, pixels) in enumerate(zip(labels, images, strict=True))
    }


def planes(pixels: np.ndarray) -> np.ndarray:
    """Pixels [N, 32, 32, 3] as rows [N, 3072]: the red plane, the green one, the blue one."""
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)).reshape(len(pixels), -1)


def write_tar(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


def write_python(folder: Path, facts: Manifest) -> Images:
    """cifar-100-python.tar.gz, with its stray file."""
    files = {"cifar-100-python/file.txt~": b""}
    for part, (labels, pixels) in batches(facts).items():
        batch = {
            "filenames": [f"{FINE_NAMES[label]}_s_{label:06d}.png" for label in labels],
            "batch_label": f"{part}ing batch 1 of 1",
            "fine_labels": labels,
            "coarse_labels": [COARSE_LABEL[FINE_NAMES[label]] for label in labels],
            "data": planes(pixels),
        }
        files[f"cifar-100-python/{part}"] = python2.dumps(batch)
    meta = {"fine_label_names": FINE_NAMES, "coarse_label_names": list(SUPERCLASSES)}
    files["cifar-100-python/meta"] = python2.dumps(meta)
    write_tar(folder / "cifar-100-python.tar.gz", files)
    return images_of(facts)


def write_binary(folder: Path, facts: Manifest) -> Images:
    """cifar-100-binary.tar.gz: coarse label, fine label, 3,072 bytes, and so on."""
    files = {
        "cifar-100-binary/coarse_label_names.txt": "\n".join([*SUPERCLASSES, ""]).encode(),
        "cifar-100-binary/fine_label_names.txt": "\n".join([*FINE_NAMES, ""]).encode(),
    }
    for part, (labels, pixels) in batches(facts).items():
        coarse = [COARSE_LABEL[FINE_NAMES[label]] for label in labels]
        heads = np.array([coarse, labels], np.uint8).T
        files[f"cifar-100-binary/{part}.bin"] = np.hstack([heads, planes(pixels)]).tobytes()
    write_tar(folder / "cifar-100-binary.tar.gz", files)
    return images_of(facts)


def write_python_10(folder: Path, facts: Manifest) -> Images:
    """cifar-10-python.tar.gz, its batches in the order of none."""
    top, parts = "cifar-10-batches-py", batches(facts)
    files = {f"{top}/data_batch_4": _pickle_10(*parts["train"], "training batch 4 of 5")}
    files[f"{top}/readme.html"] = b"<html></html>"
    files[f"{top}/test_batch"] = _pickle_10(*parts["test"], "testing batch 1 of 1")
    meta = {"num_cases_per_batch": 10000, "label_names": NAMES_10, "num_vis": 3072}
    files[f"{top}/batches.meta"] = python2.dumps(meta)
    files[f"{top}/data_batch_1"] = _pickle_10(*parts["train"], "training batch 1 of 5")
    write_tar(folder / "cifar-10-python.tar.gz", files)
    return images_of(facts)


def _pickle_10(labels: list[int], pixels: np.ndarray, title: str) -> bytes:
    names = [f"{NAMES_10[label]}_s_{label:06d}.png" for label in labels]
    batch = {"batch_label": title, "labels": labels, "data": planes(pixels), "filenames": names}
    return python2.dumps(batch)


def write_binary_10(folder: Path, facts: Manifest) -> Images:
    """cifar-10-binary.tar.gz: label, 3,072 bytes, and so on; a blank line ends the names."""
    top = "cifar-10-batches-bin"
    files = {f"{top}/batches.meta.txt": "\n".join([*NAMES_10, "", ""]).encode()}
    for part, name in (
        ("train", "data_batch_1"),
        ("test", "test_batch"),
        ("train", "data_batch_5"),
    ):
        labels, pixels = batches(facts)[part]
        heads = np.array([labels], np.uint8).T
        files[f"{top}/{name}.bin"] = np.hstack([heads, planes(pixels)]).tobytes()
    files[f"{top}/readme.html"] = b"<html></html>"
    write_tar(folder / "cifar-10-binary.tar.gz", files)
    return images_of(facts)


def write_png_zip(folder: Path, facts: Manifest) -> Images:
    """cifar100.zip: PNGs in class folders, and lists of splits that are not read."""
    images: Images = {}
    with zipfile.ZipFile(folder / "cifar100.zip", "w") as archive:
        for part, indices in facts.schemes["bertinetto"].classes.items():
            names = "".join(f"{facts.class_names[index]}\n" for index in indices)
            archive.writestr(f"cifar100/splits/bertinetto/{part}.txt", names)
        for (name, image_id), pixels in images_of(facts).items():
            file = io.BytesIO()
            Image.fromarray(np.asarray(pixels)).save(file, "PNG")
            file_name = f"{name}_s_{image_id[-5:]}{image_id[1]}.png"
            archive.writestr(f"cifar100/data/{name}/{file_name}", file.getvalue())
            images[name, file_name] = file.getvalue()
    return images


def pickles(facts: Manifest, scheme: str, stem: str) -> tuple[dict[str, bytes], Images]:
    """The three pickles by name: numbers of fine labels, and pixels; and the images in them."""
    files, images = {}, {}
    everything = list(images_of(facts).items())
    for part in PARTS:
        ours = {facts.class_names[index] for index in facts.schemes[scheme].classes[part]}
        rows = [(name, pixels) for (name, _), pixels in everything if name in ours]
        content = {
            "data": np.stack([pixels for _, pixels in rows]),
            "labels": [FINE_NAMES.index(name) for name, _ in rows],
        }
        files[f"{stem}_{part}.pickle"] = python2.dumps(content)
        for row, (name, pixels) in enumerate(rows):
            images[name, f"{part}-{row:05d}"] = pixels
    return files, images


def write_cifar_fs_pickles(folder: Path, facts: Manifest) -> Images:
    """The pickles of MetaOptNet's CIFAR-FS, loose."""
    files, images = pickles(facts, "bertinetto", "CIFAR_FS")
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return images


def write_fc100_zip(folder: Path, facts: Manifest) -> Images:
    """fc100.zip with the pickles of MetaOptNet's FC100 at the top."""
    files, images = pickles(facts, "tadam", "FC100")
    with zipfile.ZipFile(folder / "fc100.zip", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return images


LAYOUTS = {
    ("cifar-10", "cifar-10-python"): write_python_10,
    ("cifar-10", "cifar-10-binary"): write_binary_10,
    ("cifar-100", "cifar-100-python"): write_python,
    ("cifar-100", "cifar-100-binary"): write_binary,
    ("cifar-fs", "cifar-100-python"): write_python,
    ("cifar-fs", "cifar-100-binary"): write_binary,
    ("cifar-fs", "bertinetto-zip"): write_png_zip,
    ("cifar-fs", "metaoptnet-pickles"): write_cifar_fs_pickles,
    ("fc100", "cifar-100-python"): write_python,
    ("fc100", "cifar-100-binary"): write_binary,
    ("fc100", "metaoptnet-pickles"): write_fc100_zip,
}
