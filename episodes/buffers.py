"""Buffers that are used again, because memory that was touched before is quicker than new memory.

The kernel zeroes every new page: at the rate at which rows are copied, that costs as much again.
"""

import os
import sys
import threading

import numpy as np

HELD_BY_THE_POOL_ALONE = 3  # the pool's list, the loop's name, and the argument of getrefcount


class BufferPool:
    """Uint8 arrays that are handed out again once nobody else holds them, or a view of them.

    At most `most` are kept; what is asked for beyond is new and forgotten. Views hold the array
    that they are views of, so its reference count tells whether it is free.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._kept: list[np.ndarray] = []
        self._lock = threading.Lock()

    def take(self, shape: tuple[int, ...]) -> np.ndarray:
        """An array of `shape`, its content undefined."""
        size = int(np.prod(shape))
        if not _counts_are_exact():
            return np.empty(shape, np.uint8)
        if self._process != os.getpid():
            self._begin()  # a fork may have copied a lock that nobody will ever release
        with self._lock:
            for position in range(len(self._kept)):
                buffer = self._kept[position]
                if sys.getrefcount(buffer) == HELD_BY_THE_POOL_ALONE and buffer.size >= size:
                    return buffer[:size].reshape(shape)
            buffer = np.empty(size, np.uint8)
            self._keep(buffer)
        return buffer.reshape(shape)

    def _keep(self, buffer: np.ndarray) -> None:
        """Keep `buffer`, in the place of a smaller one that is free if there is no room."""
        if len(self._kept) < self._most:
            self._kept.append(buffer)
            return
        for position in range(len(self._kept)):
            other = self._kept[position]
            if sys.getrefcount(other) == HELD_BY_THE_POOL_ALONE and other.size < buffer.size:
                self._kept[position] = buffer
                return


def _counts_are_exact() -> bool:
    """Whether reference counts say who holds an object: not without the interpreter lock."""
    is_locked = getattr(sys, "_is_gil_enabled", None)
    return sys.implementation.name == "cpython" and (is_locked is None or is_locked())
