"""Algorithm `plan/1`: random words by counter, so that any episode is reached at once.

Only NumPy's raw Philox stream is used, which is fixed, never the methods of its Generator, which
may change between releases.
"""

import hashlib

import numpy as np

PLAN_VERSION = "plan/1"
WORDS_PER_BLOCK = 4
LOW_32_BITS = np.uint64(0xFFFFFFFF)
SHIFT_32 = np.uint64(32)


def plan_key(seed: int, split: str, spec: str) -> int:
    """The 128-bit Philox key of a stream: the first half of SHA-256 over its identity."""
    identity = "\n".join((PLAN_VERSION, str(int(seed)), split, spec))
    return int.from_bytes(hashlib.sha256(identity.encode()).digest()[:16], "little")


def episode_words(key: int, start: int, count: int, words: int) -> np.ndarray:
    """uint64 [count, words]: the random words of episodes start .. start + count - 1.

    Every episode owns a whole number of Philox blocks of four words, so that the position of
    episode `start` is a product and consecutive episodes are one raw draw.
    """
    blocks = -(-words // WORDS_PER_BLOCK)
    philox = np.random.Philox(key=key, counter=start * blocks)
    raw = philox.random_raw(count * blocks * WORDS_PER_BLOCK)
    return raw.reshape(count, blocks * WORDS_PER_BLOCK)[:, :words]


def below(words: np.ndarray, bounds: np.ndarray | np.uint64) -> np.ndarray:
    """floor(words * bounds / 2**64): uint64 words to uniform integers below `bounds` < 2**32."""
    high = (words >> SHIFT_32) * bounds
    low = (words & LOW_32_BITS) * bounds
    return (high + (low >> SHIFT_32)) >> SHIFT_32


def partial_shuffle(words: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The first k entries of a Fisher-Yates shuffle of range(sizes), for each of n rows.

    `words` is uint64 [k, n], `sizes` uint64 [n] with sizes >= k; the result is int64 [k, n]. Step t
    swaps position t with a position drawn from t .. size - 1; instead of the whole range only the
    k positions that were swapped are kept, so that memory does not grow with the sizes.
    """
    steps, rows = words.shape
    drawn = np.empty((steps, rows), np.uint64)
    moved = np.empty((steps, rows), np.uint64)
    chosen = np.empty((steps, rows), np.int64)
    for step in range(steps):
        at = np.uint64(step)
        position = at + below(words[step], sizes - at)
        here, there = np.full(rows, at), position.copy()
        for earlier in range(step):
            np.copyto(here, moved[earlier], where=drawn[earlier] == at)
            np.copyto(there, moved[earlier], where=drawn[earlier] == position)
        drawn[step], moved[step], chosen[step] = position, here, there
    return chosen
