"""The rows of a table: every way to a task's episodes that is timed."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import episodes
from streaming_bench.task import Task

LIMIT, LIBRARY, PEER = "limit", "library", "peer"


@dataclass(frozen=True)
class Row:
    """One way: `feed` is MODULE.FUNCTION of this package, `options` what it is called with.

    `threads` is how many are at work, the caller among them; the limit with as many is its own.
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
    def row(number: int) -> Row:
        words = f"{number} thread{'s' * (number > 1)}"
        return Row(f"{name}, {words}", kind, feed, number, {"threads": number}, needs)

    return [row(number) for number in threads]


def _copying() -> list[Row]:
    return [
        *_threaded("memcpy in C", LIMIT, "limits.memcpy"),
        *_threaded("memcpy in C to one hot buffer", LIMIT, "limits.memcpy_hot"),
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
        *_ours("stream.batches", "library.batches", (0, 1)),
        *_ours("stream.loader", "library.loader", (0, 1)),
        *_ours("stream.iterate", "library.single", (0, 1)),
        Row("stream[i]", LIBRARY, "library.item", 1, {"threads": 0}),
        *_ours("torch DataLoader", "library_torch.iterable", (0, 1)),
    ]


def _ours(name: str, feed: str, threads: tuple[int, ...]) -> list[Row]:
    """Rows of this library: the caller works too, so n threads keep n + 1 busy."""
    return [
        Row(f"{name}, threads={number}", LIBRARY, feed, number + 1, {"threads": number})
        for number in threads
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
