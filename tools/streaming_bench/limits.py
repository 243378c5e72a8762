"""What copying alone takes: the rows of real plans, from a map of the store's files to a buffer."""

import ctypes
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import episodes
from episodes.store import Store
from streaming_bench.task import (
    Delivery,
    Feed,
    Skipped,
    Task,
    ThreadBuffer,
    batch_size,
    in_threads,
)

PLANS = 2048
PLANS_AT_ONCE = 512
EPISODES_A_CALL = 8  # at least
BUFFERS = 2  # of a batch: one that the reader holds, and one that is filled meanwhile
COPY = """
#include <stdint.h>
#include <string.h>

void copy(char *out, const char **rows, int64_t room, int64_t episodes, int64_t images,
          int64_t bytes) {
    for (int64_t episode = 0; episode < episodes; episode++)
        for (int64_t image = 0; image < images; image++)
            memcpy(out + (episode % room * images + image) * bytes, *rows++, bytes);
}
"""


def memcpy(task: Task, threads: int) -> Feed:
    """A compiled loop that only copies rows, each thread into as many buffers as a reader needs."""
    return _memcpy(task, threads, BUFFERS * batch_size(task, episodes.open(task.store).image_shape))


def memcpy_hot(task: Task, threads: int) -> Feed:
    """The same loop, each thread into one buffer of an episode, which stays in its caches."""
    return _memcpy(task, threads, 1)


def _memcpy(task: Task, threads: int, room: int) -> Feed:
    copy = _compiled()
    store, rows = _planned(task)
    pixels, owner, local = _mapped(store, rows)
    row_bytes = int(np.prod(store.image_shape))
    starts = np.array([shard.ctypes.data for shard in pixels])
    at_once = max(room, EPISODES_A_CALL)
    addresses = (starts[owner] + local * row_bytes).reshape(-1, at_once, task.images)
    buffer = ThreadBuffer((room, task.images, *store.image_shape))

    def work(job: int, keeping_the_maps: list[np.ndarray] = pixels) -> Delivery:
        out = buffer.array
        some = addresses[job]
        copy(out.ctypes.data, some.ctypes.data, room, at_once, task.images, row_bytes)
        return (np.broadcast_to(out, (at_once // room, *out.shape)),)

    (copied,) = work(0)
    if not np.array_equal(copied[-1, -1], store.images(rows[at_once - 1])):
        raise RuntimeError("the compiled loop copied other pixels than the store has")
    return lambda: in_threads(work, len(addresses), threads)


def take(task: Task, threads: int) -> Feed:
    """NumPy's `take` from each shard's map, each thread into one buffer of an episode."""
    store, rows = _planned(task)
    pixels, owner, local = _mapped(store, rows)
    buffer = ThreadBuffer((task.images, *store.image_shape))
    runs = [_runs(owners) for owners in owner]

    def work(job: int) -> Delivery:
        out = buffer.array
        for begin, end in runs[job]:
            shard, chosen = pixels[owner[job, begin]], local[job, begin:end]
            np.take(shard, chosen, axis=0, out=out[begin:end], mode="clip")
        return (out,)

    (taken,) = work(0)
    if not np.array_equal(taken, store.images(rows[0])):
        raise RuntimeError("NumPy's take gave other pixels than the store has")
    return lambda: in_threads(work, len(rows), threads)


def plans(task: Task, threads: int) -> Feed:
    """Planning alone: empty images of the planned number, so that it counts like the rest."""
    store = episodes.open(task.store)
    stream = store.stream(task.split, task.way, task.shot, task.query, task.seed)
    nothing = np.broadcast_to(np.zeros(1, np.uint8), store.image_shape)

    def feed() -> Iterator[Delivery]:
        position = 0
        while True:
            planned = stream.plans(position, PLANS_AT_ONCE)
            position += PLANS_AT_ONCE
            counts = planned.support_rows.shape, planned.query_rows.shape
            yield tuple(np.broadcast_to(nothing, (*shape, *nothing.shape)) for shape in counts)

    return feed


def _planned(task: Task) -> tuple[Store, np.ndarray]:
    """The store, and the rows of its first PLANS episodes [PLANS, images]."""
    store = episodes.open(task.store)
    stream = store.stream(task.split, task.way, task.shot, task.query, task.seed)
    found = stream.plans(0, PLANS)
    return store, np.concatenate((found.support_rows, found.query_rows), axis=1)


def _mapped(store: Store, rows: np.ndarray) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """The pixels of each shard, and for all `rows` their shard and their row in it."""
    pixels = [
        np.memmap(
            store.path / shard.file,
            np.uint8,
            mode="r",
            offset=shard.arrays["images"],
            shape=(shard.rows, *store.image_shape),
        ).view(np.ndarray)
        for shard in store.info.shards
    ]
    starts = np.cumsum([0, *(len(shard) for shard in pixels)])
    owner = np.searchsorted(starts, rows, side="right") - 1
    return pixels, owner, rows - starts[owner]


def _runs(owners: np.ndarray) -> list[tuple[int, int]]:
    """Where rows of one shard stand next to each other, as begins and ends."""
    cuts = [0, *(np.flatnonzero(owners[1:] != owners[:-1]) + 1).tolist(), len(owners)]
    return list(zip(cuts[:-1], cuts[1:], strict=True))


def _compiled() -> "ctypes._NamedFuncPointer":
    compiler = shutil.which("cc")
    if compiler is None:
        raise Skipped("no C compiler `cc`")
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder, "limit.c"), Path(folder, "limit.so")
        source.write_text(COPY)
        command = [compiler, "-O3", "-shared", "-fPIC", "-o", str(library), str(source)]
        made = subprocess.run(command, capture_output=True, text=True)
        if made.returncode:
            raise Skipped(f"cc: {made.stderr.strip()}")
        copy = ctypes.CDLL(str(library)).copy
    copy.argtypes = [ctypes.c_void_p] * 2 + [ctypes.c_int64] * 4
    copy.restype = None
    return copy
