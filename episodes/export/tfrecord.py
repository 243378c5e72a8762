"""A whole store in the layout of a Meta-Dataset conversion, for those who use its original code.

dataset_spec.json; 0.tfrecords, 1.tfrecords ..., a file a class id, of tf.Examples with the features
`image` (a JPEG) and `label` (the class id); and conversion.json, which says what was converted, and
in what it departs from Meta-Dataset's own conversion.
"""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from episodes import jpeg
from episodes.disk import sync_file
from episodes.errors import EpisodesError
from episodes.export.description import licence_note, store_facts
from episodes.export.placing import refuse_place
from episodes.meta_dataset.conversion import IMAGE, LABEL
from episodes.meta_dataset.describing import departures, specification_of, usual_scheme
from episodes.meta_dataset.specification import FILE_PATTERN, DatasetSpecification
from episodes.meta_dataset.specification_file import FILE_NAME as SPECIFICATION_NAME
from episodes.meta_dataset.specification_file import write_specification
from episodes.progress import Progress, silent
from episodes.sealed import read_sealed, sealed
from episodes.store import Store
from episodes.store.placing import built_beside, exclusive
from episodes.tfrecord import encode_example, framed
from episodes.version import installed_version

FORMAT = "episodes-conversion/1"
FILE_NAME = "conversion.json"
ROWS_AT_ONCE = 64
# Where Meta-Dataset takes a class's files in order of their names, and where it then shuffles them,
# with this seed of NumPy's RandomState, because neighbours show the same sign. Elsewhere its order
# is that of the source's own lists, for which the store's order stands.
BY_NAME = ("ilsvrc_2012", "ilsvrc_2012_v2", "omniglot", "cu_birds", "dtd", "traffic_sign")
SHUFFLED = {"traffic_sign": 23}


@dataclass(frozen=True)
class ConversionInfo:
    """What conversion.json says: the store, the split scheme, classes, images, and departures."""

    store: Mapping[str, Any]
    scheme: str
    classes: int
    images: int
    departures: Sequence[str]
    licence_note: str
    tool_version: str
    format: str = FORMAT

    @property
    def as_json(self) -> dict[str, Any]:
        """The values as they stand in conversion.json."""
        return sealed(asdict(self))


def export_records(
    store: Store,
    folder: str | Path,
    progress: Progress | None = None,
    *,
    scheme: str | None = None,
    threads: int = 1,
    force: bool = False,
) -> ConversionInfo:
    """Write all images of `store` as TFRecord files, in `folder`: it is there whole or not at all.

    `scheme` is the split scheme (default: Meta-Dataset's where the store has it, else its own).
    RGB JPEGs of a store of original files go in byte for byte; every other image as Pillow encodes
    it by default, as in Meta-Dataset's code. `force` replaces such an export that is there. Raises
    UsageError for an unknown scheme, a folder that is there, and a partial store of a class graph;
    EpisodesError for a damaged store and for what the disk refuses.
    """
    folder = Path(folder)
    specification, classes = specification_of(store, scheme)
    info = ConversionInfo(
        store=store_facts(store),
        scheme=scheme or usual_scheme(store),
        classes=len(classes),
        images=sum(specification.images_per_class),
        departures=tuple(departures(store)),
        licence_note=licence_note([store]),
        tool_version=installed_version(),
    )
    refuse_place(folder, force, _strangers)
    try:
        with exclusive(folder.absolute(), progress):
            refuse_place(folder, force, _strangers)
            with built_beside(folder.absolute()) as beside:
                _write_files(store, specification, classes, beside, progress or silent, threads)
                write_specification(beside, specification)
                text = json.dumps(info.as_json, indent=1, ensure_ascii=False)
                (beside / FILE_NAME).write_text(text + "\n", encoding="utf-8")
                for path in beside.iterdir():  # at the end: most is on the disk by then
                    sync_file(path)
    except OSError as error:
        raise EpisodesError(
            f"cannot write the export {folder}: {error.strerror or error}: "
            "free or choose another place"
        ) from None
    return info


def image_file(store: Store, row: int) -> bytes:
    """The JPEG that a conversion has of `row`: its own file where that is one in RGB."""
    if not store.is_view and not store.info.keeps_pixels:
        encoded = store.encoded(row)
        if _is_rgb_jpeg(encoded):
            return encoded
    return _encoded(store.images(np.array([row]))[0] if store.is_view else store.image(row))


def _write_files(
    store: Store,
    specification: DatasetSpecification,
    classes: Sequence[int],
    folder: Path,
    progress: Progress,
    threads: int,
) -> None:
    done, total = 0, sum(specification.images_per_class)
    encode = partial(image_file, store)
    with ThreadPoolExecutor(threads, thread_name_prefix="encode") as pool:
        each = pool.map if threads > 1 else map
        for class_id, index in enumerate(classes):
            path = folder / FILE_PATTERN.format(class_id)
            rows = _rows_in_order(store, index, specification.name)
            with path.open("wb") as file:
                for some in _blocks(rows):
                    files = each(encode, some)
                    examples = [encode_example({IMAGE: [x], LABEL: [class_id]}) for x in files]
                    file.write(framed(examples))
                    done += len(some)
                    progress("exporting images", done, total)


def _blocks(rows: Sequence[int]) -> Iterator[Sequence[int]]:
    return (rows[first : first + ROWS_AT_ONCE] for first in range(0, len(rows), ROWS_AT_ONCE))


def _rows_in_order(store: Store, index: int, converted_dataset: str) -> list[int]:
    """The rows of a class in the order that its images have in a conversion."""
    first, size = int(store.class_starts[index]), int(store.class_sizes[index])
    rows = list(range(first, first + size))
    if converted_dataset in BY_NAME:
        ids = store.ids(np.array(rows))
        rows.sort(key=lambda row: ids[row - first])
    if (seed := SHUFFLED.get(converted_dataset)) is not None:
        np.random.RandomState(seed).shuffle(rows)
    return rows


def _is_rgb_jpeg(encoded: bytes) -> bool:
    from PIL import Image

    if not encoded.startswith(jpeg.START):
        return False
    with Image.open(io.BytesIO(encoded), formats=("JPEG",)) as image:
        return (image.format, image.mode) == ("JPEG", "RGB")


def _encoded(pixels: np.ndarray) -> bytes:
    """uint8 pixels [H, W, C] in RGB as a JPEG of Pillow's default quality."""
    from PIL import Image

    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).convert("RGB")
    encoded = io.BytesIO()
    image.save(encoded, "JPEG")
    return encoded.getvalue()


def _strangers(folder: Path) -> list[str]:
    """What is in the folder of such an export that is no part of it."""
    read_sealed(folder / FILE_NAME, "export", FORMAT, "choose another folder")
    parts = {SPECIFICATION_NAME, FILE_NAME}
    files = FILE_PATTERN.format("*")
    return [p.name for p in folder.iterdir() if not p.match(files) and p.name not in parts]
