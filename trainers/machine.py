"""The machine that a run computes on, set up so that the same run gives the same numbers."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from episodes.errors import EpisodesError, UsageError

TURNS_BEFORE_SLEEP = "1000"
ALLOCATOR = "TRAINERS_ALLOCATOR"
"""The environment variable that leaves the memory allocator alone if it is `default`."""

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
NEVER_TRIMMED = 2**31 - 1


def let_waiting_threads_sleep() -> None:
    """Keep torch's idle threads from spinning for long, unless the environment says how long.

    By default they spin for milliseconds. On a machine that does other work too this made an outer
    step 6 to 9 times as long; on a quiet one it gained nothing. It works before torch is imported,
    with the OpenMP library of its Linux builds; set GOMP_SPINCOUNT or OMP_WAIT_POLICY to choose.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", TURNS_BEFORE_SLEEP)


def keep_freed_memory() -> bool:
    """Let glibc keep freed memory for the next tensors instead of giving it back; whether it does.

    By default every large tensor is mapped anew, and the system fills each of its pages with zeros
    when it is first touched: on a CPU that can take more than half of a training step. Memory grows
    by 15 to 45 %. Nothing is done on systems without glibc, and where the environment sets its
    MALLOC_ variables or TRAINERS_ALLOCATOR=default.
    """
    chosen = any(name.startswith("MALLOC_") for name in os.environ)
    if chosen or os.environ.get(ALLOCATOR) == "default" or not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    settings = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, NEVER_TRIMMED))
    return all(library.mallopt(name, value) for name, value in settings)


@contextmanager
def out_of_memory_told() -> Iterator[None]:
    """Turns torch's lack of memory, on any device, into an EpisodesError."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        told = ("out of memory", "can't allocate memory", "Unable to allocate")
        if not any(words in str(error) for words in told):
            raise
        raise EpisodesError(
            "out of memory: choose fewer --filters, --steps or images an episode, or --algo fomaml"
        ) from None


def free_bytes(device: str) -> int | None:
    """The memory that a device has left; None where it cannot be told."""
    import torch

    if device == "cuda":
        return torch.cuda.mem_get_info()[0]
    try:
        pages, size = os.sysconf("SC_AVPHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
    return _available() or pages * size


def _available() -> int | None:
    """What Linux says is available, caches that it would give up included."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            found = next(line for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return None
    return int(found.split()[1]) * 1024


def use(device: str, threads: int, precision: str = "fp32") -> None:
    """Set this process's thread count, cuDNN's deterministic kernels, and whether float32 is
    multiplied as TF32, which is for `precision` tf32 alone.

    Raises UsageError where the device is not there.
    """
    import torch

    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if not available[device]:
        working = ", ".join(name for name, works in available.items() if works)
        raise UsageError(f"--device {device} is not available here (available: {working})")
    torch.set_num_threads(threads)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
