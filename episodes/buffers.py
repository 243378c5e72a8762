"""Buffers that are used again, because memory that was touched before is quicker than new memory.

The kernel zeroes every new page: at the rate at which rows are copied, that costs as much again.
"""

import math
import os
import sys
import threading

import numpy as np

from episodes.errors import UsageError


class BufferPool:
    """Uint8 arrays that are handed out again once nobody else holds them, or a view of them.

    At most `most` are kept; what is asked for beyond is new and forgotten. Views hold the array
    that they are views of, so its reference count tells whether it is free.
    """

    def __init__(self, most: int) -> None:
        self._most = most if _counts_are_exact() else 0
        (self._free,) = _references([np.empty(0)])
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._kept: list[np.ndarray] = []
        self._lock = threading.Lock()

    def take(self, shape: tuple[int, ...]) -> np.ndarray:
        """An array of `shape`, its content undefined."""
        size = math.prod(shape)
        if self._process != os.getpid():
            self._begin()  # a fork may have copied a lock that nobody will ever release
        with self._lock:
            smaller = None
            for position, references in enumerate(_references(self._kept)):
                if references == self._free:
                    kept = self._kept[position]
                    if kept.size == size:
                        return kept.reshape(shape)
                    if kept.size > size:
                        return kept[:size].reshape(shape)
                    smaller = position
            buffer = np.empty(size, np.uint8)
            if len(self._kept) < self._most:
                self._kept.append(buffer)
            elif smaller is not None:
                self._kept[smaller] = buffer
        return buffer.reshape(shape)

    def fit(self, shape: tuple[int, ...], out: np.ndarray | None) -> np.ndarray:
        """`out`, or an array of `shape` where it is None.

        Raises UsageError for an `out` of another type or shape.
        """
        if out is None:
            return self.take(shape)
        if out.shape != shape or out.dtype != np.uint8 or not out.flags.c_contiguous:
            raise UsageError(
                f"out is {out.dtype} {list(out.shape)}; expected contiguous uint8 {list(shape)}"
            )
        return out


def _references(arrays: list[np.ndarray]) -> list[int]:
    """How many hold each array; what the interpreter itself adds differs between its versions."""
    return [sys.getrefcount(array) for array in arrays]


def _counts_are_exact() -> bool:
    """Whether reference counts say who holds an object: not without the interpreter lock."""
    is_locked = getattr(sys, "_is_gil_enabled", None)
    return sys.implementation.name == "cpython" and (is_locked is None or is_locked())
