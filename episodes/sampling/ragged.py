"""Shuffles of many decks at once, of each of which another number of cards is drawn."""

import numpy as np

from episodes.sampling.rng import partial_shuffle

STEPS_ALIKE = 8


def ragged_shuffle(words: np.ndarray, counts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The first counts[j] entries of a Fisher-Yates shuffle of range(sizes[j]), j after j.

    `words` is uint64 [sum of counts], those of each j in a row; `counts` and `sizes` are integers
    [n] with counts <= sizes < 2**32; the result is int64 of the shape of `words`. Entries do not
    depend on those after them, so that decks of about as many steps are shuffled together, each
    for as many steps as the longest: what was drawn too much, with words of others, is dropped.
    """
    entries = np.empty(len(words), np.int64)
    first = np.cumsum(counts) - counts
    steps = np.minimum(-(-counts // STEPS_ALIKE) * STEPS_ALIKE, sizes)
    order = np.argsort(steps, kind="stable")
    for alike in np.split(order, np.flatnonzero(np.diff(steps[order])) + 1):
        step = np.arange(steps[alike].max(initial=0))
        at = first[alike, np.newaxis] + step
        drawn = partial_shuffle(words[np.minimum(at, len(words) - 1)], sizes[alike])
        asked = step < counts[alike, np.newaxis]
        entries[at[asked]] = drawn[asked]
    return entries
