"""The rows of a table: every way to a task's episodes that is timed."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import episodes
from streaming_bench.task import Task

LIMIT, LIBRARY, PEER = "limit", "library", "peer"


@dataclass(frozen=True)
class Row:
    """One way: `feed` is MODULE.FUNCTION of this package, `options` what it is called with.

    What `needs` a package runs under the peers' Python; `files` is the function of `peer_files`
    that writes what a peer reads.
    """

    name: str
    kind: str
    feed: str
    threads: int = 1
    options: Mapping[str, int] = field(default_factory=dict)
    needs: str | None = None
    files: str | None = None


def rows_of(task: Task) -> list[Row]:
    """The rows for a task, by what its store keeps; limits first, the strictest first."""
    info = episodes.open(task.store).info
    limits = _copying() if info.keeps_pixels else _decoding()
    peers = _peers() if info.keeps_pixels and info.channels == 3 else []
    return [*limits, *_library(), *peers]


def _threaded(
    name: str, kind: str, feed: str, threads: tuple[int, ...] = (1, 2), needs: str | None = None
) -> list[Row]:
    return [
        Row(f"{name}, {_threads(number)}", kind, feed, max(number, 1), {"threads": number}, needs)
        for number in threads
    ]


def _threads(number: int) -> str:
    return "no thread" if number == 0 else f"{number} thread{'s' * (number > 1)}"


def _copying() -> list[Row]:
    return [
        *_threaded("memcpy in C", LIMIT, "limits.memcpy"),
        *_threaded("numpy.take", LIMIT, "limits.take"),
        *_threaded("plans alone", LIMIT, "limits.plans", (1,)),
    ]


def _decoding() -> list[Row]:
    return [
        *_threaded("decode: simplejpeg", LIMIT, "decoding.simplejpeg", needs="simplejpeg"),
        *_threaded("decode: episodes.images", LIMIT, "decoding.library"),
        *_threaded("decode: Pillow", LIMIT, "decoding.pillow"),
    ]


def _library() -> list[Row]:
    return [
        *_threaded("stream.batches", LIBRARY, "library.batches", (0, 1, 2)),
        *_threaded("stream.loader", LIBRARY, "library.loader"),
        *_threaded("stream.iterate", LIBRARY, "library.single", (1,)),
        Row("stream[i]", LIBRARY, "library.item", 1, {"threads": 0}),
        *_threaded("torch DataLoader", LIBRARY, "library_torch.iterable", (1,)),
    ]


def _peers() -> list[Row]:
    def peer(
        package: str, name: str, files: str, function: str, options: dict[str, int] | None = None
    ) -> Row:
        module = f"peer_{package}.{function}"
        needs = {"libfewshot": "core"}.get(package, package)
        return Row(name, PEER, module, 1, options or {}, needs, files)

    workers = {"workers": 2}
    return [
        peer("learn2learn", "learn2learn, default", "pickled", "default"),
        peer("learn2learn", "learn2learn, fused", "pickled", "fused"),
        peer("torchmeta", "torchmeta", "hdf5", "default"),
        peer("easyfsl", "easyfsl", "image_folders", "default"),
        peer("easyfsl", "easyfsl, uint8", "image_folders", "uint8"),
        peer("easyfsl", "easyfsl, uint8, 2 workers", "image_folders", "uint8", workers),
        peer("libfewshot", "LibFewShot, files", "image_folders", "files"),
        peer("libfewshot", "LibFewShot, files, 2 workers", "image_folders", "files", workers),
        peer("libfewshot", "LibFewShot, memory", "image_folders", "memory"),
    ]
