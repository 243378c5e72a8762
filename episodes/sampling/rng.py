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
WORDS_PER_JUMP = 600  # moving the counter takes as long as drawing about so many words
PAIRS_AT_ONCE = 2**18
FEW_ROWS = 8


def plan_key(seed: int, split: str, spec: str) -> int:
    """The 128-bit Philox key of a stream: the first half of SHA-256 over its identity."""
    return key_of(PLAN_VERSION, str(int(seed)), split, spec)


def key_of(*identity: str) -> int:
    """A 128-bit Philox key: the first half of SHA-256 over the lines of an identity."""
    digest = hashlib.sha256("\n".join(identity).encode()).digest()
    return int.from_bytes(digest[:16], "little")


def episode_words(key: int, start: int, count: int, words: int, step: int = 1) -> np.ndarray:
    """uint64 [count, words]: the random words of episodes start, start + step, start + 2 step, ...

    Every episode owns a whole number of Philox blocks of four words, so that the position of
    episode `start` is a product, and consecutive episodes are one raw draw. Episodes that are left
    out are drawn and dropped where they are few words, jumped over where they are many.
    """
    blocks = -(-words // WORDS_PER_BLOCK)
    width = blocks * WORDS_PER_BLOCK
    philox = np.random.Philox(key=key, counter=int(start) * blocks)
    if (step - 1) * width <= WORDS_PER_JUMP:
        return philox.random_raw(count * step * width).reshape(count, step * width)[:, :words]
    drawn = np.empty((count, width), np.uint64)
    for row in drawn:
        row[:] = philox.random_raw(width)
        philox.advance((step - 1) * blocks)
    return drawn[:, :words]


def below(words: np.ndarray, bounds: np.ndarray | np.uint64) -> np.ndarray:
    """floor(words * bounds / 2**64): uint64 words to uniform integers below `bounds` < 2**32."""
    high = words >> SHIFT_32
    high *= bounds
    low = words & LOW_32_BITS
    low *= bounds
    low >>= SHIFT_32
    high += low
    high >>= SHIFT_32
    return high


def fractions(words: np.ndarray) -> np.ndarray:
    """float64, uniform in [0, 1): the 53 highest bits of uint64 words, which is exact."""
    return (words >> np.uint64(11)) * 2.0**-53


def partial_shuffle(words: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The first k entries of a Fisher-Yates shuffle of range(sizes), for each of n rows.

    `words` is uint64 [n, k], `sizes` integers [n] with k <= sizes < 2**32; the result is unsigned
    [n, k]. Step t swaps place t with a place drawn from t .. size - 1. The deck holds only the
    places that are touched, the first k and those drawn, so that it does not grow with the sizes.
    """
    rows, steps = words.shape
    if rows <= FEW_ROWS:
        shuffled = map(_shuffle_one, words.tolist(), sizes.tolist())
        return np.array(list(shuffled), np.uint32).reshape(rows, steps)
    places, drawn = _touched_places(words, sizes.astype(np.uint64))
    deck = np.empty((2 * steps, rows), drawn.dtype)
    deck[:steps] = np.arange(steps)[:, np.newaxis]
    deck[steps:] = drawn[::-1]
    cards = deck.reshape(-1)
    at = places.astype(np.intp)
    at *= rows
    at += np.arange(rows)
    chosen = np.empty_like(drawn)
    for step, card in enumerate(at):
        chosen[step] = cards[card]
        cards[card] = deck[step]
    return chosen.T


def _shuffle_one(words: list[int], size: int) -> list[int]:
    """One row in plain Python, which for a few rows is quicker than arrays."""
    deck: dict[int, int] = {}
    chosen = []
    for step, word in enumerate(words):
        place = step + (word * (size - step) >> 64)
        chosen.append(deck.get(place, place))
        deck[place] = deck.get(step, step)
    return chosen


def _touched_places(words: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[k, n] twice: the places in the small deck that the steps swap with, and in the whole one.

    A place below k is its own; another one is 2k - 1 - t, where t is the first step that drew it.
    """
    rows, steps = words.shape
    small = np.min_scalar_type(int(sizes.max()))
    offsets = below(words, sizes[:, np.newaxis] - np.arange(steps, dtype=np.uint64))
    drawn = np.ascontiguousarray(offsets.astype(small).T)
    drawn += np.arange(steps, dtype=small)[:, np.newaxis]

    tail = np.arange(2 * steps - 1, steps - 1, -1)
    tail = tail.astype(np.min_scalar_type(2 * steps))[:, np.newaxis]
    places = np.empty((steps, rows), tail.dtype)
    block = max(1, PAIRS_AT_ONCE // (steps * rows))
    for first in range(0, steps, block):
        end = min(first + block, steps)
        same = drawn[first:end, np.newaxis] == drawn[:end]
        np.max(same.view(np.uint8) * tail[:end], axis=1, out=places[first:end])
    np.copyto(places, drawn, where=drawn < steps, casting="unsafe")
    return places, drawn
