"""CRC-32C (Castagnoli) of many pieces of a buffer at once, in array operations.

A CRC is linear over GF(2), but for its first and last inversion. So pieces are cut into chunks,
all chunks go through the register side by side, four bytes a step, and a piece's CRC is the
exclusive or of its chunks' registers, each advanced by the zero bytes that stand for what follows.
"""

from functools import cache

import numpy as np

POLYNOMIAL = 0x82F63B78  # reflected
INVERSION = 0xFFFFFFFF
MASK_DELTA = 0xA282EAD8
LEVEL_OF_WORD = 2  # 2**2 bytes a step
LEVEL_OF_CHUNK = 8  # 2**8 bytes a chunk
CHUNK = 1 << LEVEL_OF_CHUNK
TURNED_AT_ONCE = 1024


def crc32c(data: bytes | memoryview, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """uint32 [n]: the CRC-32C of each data[start:start + length], starts and lengths int64 [n].

    Takes about three times the memory of the pieces, and 16 MB of tables at most.
    """
    if not len(starts):
        return np.empty(0, np.uint32)
    chunks = np.maximum(1, -(-lengths // CHUNK))
    firsts = np.cumsum(chunks) - chunks
    place = np.arange(chunks.sum()) - np.repeat(firsts, chunks)
    # Chunks end where their piece ends; zeros before a piece leave a register of zeros as it is.
    before = chunks * CHUNK - lengths
    begins = np.repeat(starts - before, chunks) + place * CHUNK
    padded = np.concatenate([np.zeros(CHUNK, np.uint8), np.frombuffer(data, np.uint8)])
    windows = np.ndarray((len(padded) - CHUNK + 1,), f"V{CHUNK}", padded, strides=(1,))
    taken = windows[begins + CHUNK].view(np.uint8).reshape(-1, CHUNK)
    taken[firsts] *= np.arange(CHUNK) >= before[:, np.newaxis]

    registers = np.zeros(len(begins), np.uint32)
    for word in _turned(taken.view("<u4")):
        registers = _advanced(registers ^ word, LEVEL_OF_WORD)
    registers = _advanced_by(registers, np.repeat(chunks, chunks) - 1 - place, LEVEL_OF_CHUNK)
    pieces = np.bitwise_xor.reduceat(registers, firsts)
    inverted = _advanced_by(np.full(len(starts), INVERSION, np.uint32), lengths, 0)
    return pieces ^ inverted ^ np.uint32(INVERSION)


def masked(crc: np.ndarray) -> np.ndarray:
    """uint32 [n]: CRCs as TFRecord files hold them, turned and shifted."""
    turned = crc >> np.uint32(15) | crc << np.uint32(17)
    return turned + np.uint32(MASK_DELTA)


def _turned(words: np.ndarray) -> np.ndarray:
    """The transpose of uint32 [n, k], contiguous, by blocks that stay in the cache."""
    turned = np.empty(words.shape[::-1], words.dtype)
    for first in range(0, len(words), TURNED_AT_ONCE):
        turned[:, first : first + TURNED_AT_ONCE] = words[first : first + TURNED_AT_ONCE].T
    return turned


def _advanced_by(registers: np.ndarray, counts: np.ndarray, level: int) -> np.ndarray:
    """The uint32 registers [n] after as many times 2**level zero bytes as int64 counts [n] say."""
    registers = registers.copy()
    for bit in range(int(counts.max()).bit_length()):
        chosen = np.flatnonzero(counts >> bit & 1)
        registers[chosen] = _advanced(registers[chosen], level + bit)
    return registers


def _advanced(registers: np.ndarray, level: int) -> np.ndarray:
    """The uint32 registers [n] after 2**level zero bytes."""
    low, high = _tables(level)
    halves = registers.astype("<u4", copy=False).view("<u2")
    return low.take(halves[0::2], mode="clip") ^ high.take(halves[1::2], mode="clip")


@cache
def _tables(level: int) -> tuple[np.ndarray, np.ndarray]:
    """uint32 [65536] each: what 2**level zero bytes make of a register's lower and upper half."""
    halves = np.arange(1 << 16, dtype=np.uint32)
    low, high = halves, halves << np.uint32(16)
    if level:
        for _ in range(2):
            low, high = _advanced(low, level - 1), _advanced(high, level - 1)
        return low, high
    for _ in range(8):
        low, high = (
            table >> np.uint32(1) ^ (table & np.uint32(1)) * np.uint32(POLYNOMIAL)
            for table in (low, high)
        )
    return low, high
