"""episodes.json: what an export holds, where it is from, and how to read it."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, get_origin

from episodes.errors import EpisodesError, UsageError
from episodes.sampling import EpisodeSpec
from episodes.sampling.rng import PLAN_VERSION
from episodes.sealed import read_sealed, sealed
from episodes.store import Store
from episodes.stream import Stream
from episodes.version import installed_version

FORMAT = "episodes-export/1"
FILE_NAME = "episodes.json"
PLAN = "plan"
HOW_TO_READ = {
    "plan": "episodes.jsonl.gz: gzip, UTF-8, one JSON object a line and episode, in order. "
    "class_names are in label order; support and query list the images with label, id in the "
    "source, row in the store, and sha256 of the uint8 pixels [H, W, C] (image_shape) in C order. "
    "In Python: [json.loads(line) for line in gzip.open('episodes.jsonl.gz', 'rt')]",
    "webdataset": "Tars, one sample an episode: support_images.npy uint8 [n, H, W, C], "
    "support_labels.npy int64 [n], query_images.npy, query_labels.npy, class_ids.npy, and json "
    "(index, source, class_names in label order, support_ids, query_ids). In Python: "
    "webdataset.WebDataset(files, shardshuffle=False).decode()",
    "hdf5": "episodes.h5, row i of each dataset being episode i: support_images uint8 "
    "[count, n, H, W, C], support_labels int64 [count, n], query_images, query_labels, class_ids "
    "[count, way], class_names in label order, support_ids, query_ids, index, source. In Python: "
    "h5py.File('episodes.h5')['support_images'][i]",
    "arrow": "episodes.arrow, an Arrow IPC file (Feather 2), a row an episode: support_images, a "
    "fixed-size list of uint8 whose field metadata has its shape [n, H, W, C], support_labels, "
    "query_images, query_labels, class_ids, class_names in label order, support_ids, query_ids, "
    "index, source. In Python: pyarrow.ipc.open_file(pyarrow.memory_map('episodes.arrow'))",
}
FORMATS = tuple(HOW_TO_READ)


@dataclass(frozen=True)
class ExportedFile:
    """One file of an export: name, size, hash, and how many episodes are in it, in their order."""

    file: str
    bytes: int
    sha256: str
    episodes: int

    def __post_init__(self) -> None:
        _check_types(self)
        # episodes.json may come from elsewhere: what it names lies beside it, nowhere else.
        if not self.file.startswith("episodes") or Path(self.file).name != self.file:
            raise ValueError(f"{self.file!r} is not the name of an export's file")


@dataclass(frozen=True)
class ExportInfo:
    """What episodes.json says.

    `container` is the export's format; `stores` describes each store of the stream; `spec` is the
    canonical spec; `licence_note` is empty where the pixels may be redistributed, or are not there.
    """

    container: str
    plan_version: str
    stores: tuple[Mapping[str, Any], ...]
    split: str
    spec: Mapping[str, Any]
    seed: int
    count: int
    fingerprint: str
    image_shape: tuple[int, int, int]
    licence_note: str
    how_to_read: str
    tool_version: str
    files: tuple[ExportedFile, ...] = ()
    format: str = FORMAT

    def __post_init__(self) -> None:
        _check_types(self)
        if self.container not in FORMATS:
            raise ValueError(f"there is no format {self.container}")
        if len(self.image_shape) != 3 or {type(edge) for edge in self.image_shape} != {int}:
            raise ValueError(f"image_shape is {self.image_shape}")

    @property
    def episode_spec(self) -> EpisodeSpec:
        """The spec of the episodes."""
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in self.spec.items()
        }
        return EpisodeSpec(**values)

    @property
    def marks(self) -> tuple[str, ...]:
        """What sets the stores apart from the whole datasets, a line each."""
        return tuple(f"{store['name']}: {mark}" for store in self.stores for mark in store["marks"])

    @property
    def as_json(self) -> dict[str, Any]:
        """The values as they stand in episodes.json."""
        return sealed(asdict(self))


def stream_facts(stream: Stream) -> dict[str, Any]:
    """What there is to say of a stream, as plain values."""
    return {
        "plan_version": PLAN_VERSION,
        "stores": tuple(store_facts(store) for store in stream.stores),
        "split": stream.split,
        "spec": json.loads(stream.spec.canonical()),
        "seed": stream.seed,
        "image_shape": tuple(map(int, stream.stores[0].image_shape)),
        "tool_version": installed_version(),
    }


def store_facts(store: Store) -> dict[str, Any]:
    """What an export says of a store that it is made from."""
    info = store.info
    return {
        "name": store.name,
        "dataset": info.dataset,
        "title": info.title,
        "version": info.version,
        "homepage": info.homepage,
        "content_digest": store.digest,
        "verified": info.verified,
        "marks": list(info.marks),
        "preprocessing": dict(info.preprocessing),
        "source": info.source,
        "licence": info.licence,
        "redistribution": info.redistribution,
        "citation": info.citation,
    }


def describe(stream: Stream, container: str, count: int) -> ExportInfo:
    """The description of the first `count` episodes of `stream`, without its files."""
    return ExportInfo(
        container=container,
        count=count,
        fingerprint=stream.fingerprint(count),
        licence_note="" if container == PLAN else licence_note(stream.stores),
        how_to_read=HOW_TO_READ[container],
        **stream_facts(stream),
    )


def licence_note(stores: Iterable[Store]) -> str:
    """What to know before pixels of `stores` are passed on; empty where they are free to be."""
    closed = {
        f"{store.info.dataset} (licence: {store.info.licence})": None
        for store in stores
        if not store.info.redistribution
    }
    if not closed:
        return ""
    return (
        f"these are images of {', '.join(closed)}, not marked as free to redistribute: "
        f"what is free to publish is the export with --format {PLAN}, which has no pixels"
    )


def write_info(folder: Path, info: ExportInfo) -> None:
    """Write `info` as episodes.json into `folder`, under a SHA-256 of its own."""
    text = json.dumps(info.as_json, indent=1, ensure_ascii=False)
    (folder / FILE_NAME).write_text(text + "\n", encoding="utf-8")


def read_info(folder: Path) -> ExportInfo:
    """The description of the export in `folder`.

    Raises EpisodesError where there is none, where it is damaged, and where its format is another.
    """
    path = folder / FILE_NAME
    again = "fetch or export it again"
    values = read_sealed(path, "export", FORMAT, again, absent=" (`episodes export` makes one)")
    try:
        return _parsed(values)
    except (KeyError, TypeError, ValueError, UsageError) as error:
        raise EpisodesError(f"{path} is damaged ({error}): {again}") from None


def _parsed(values: dict[str, Any]) -> ExportInfo:
    info = ExportInfo(
        **values
        | {
            "stores": tuple(values["stores"]),
            "image_shape": tuple(values["image_shape"]),
            "files": tuple(ExportedFile(**file) for file in values["files"]),
        }
    )
    canonical = info.episode_spec.canonical()
    if json.loads(canonical) != info.spec:
        raise ValueError(f"spec is {info.spec}")
    for store in info.stores:
        for name in ("name", "dataset", "content_digest", "marks", "preprocessing"):
            store[name]
    return info


def _check_types(record: Any) -> None:
    for each in fields(record):
        kind: Any = get_origin(each.type) or each.type
        value = getattr(record, each.name)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise ValueError(f"{each.name} is {value!r}")
